"""What a fake provider may be told to do with a request, and what it remembers of one."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, final

from attrs import define, field, frozen, validators


__all__ = ["Behaviour", "Cut", "Hang", "Orders", "Reply", "Seen"]


@final
@frozen
class Reply:
    """Answer with this *status* and *body*; or write *raw* to the socket and hang up.

    Without a body it is the error that belongs to the status, with *code* in it.
    """

    status: int = 200
    body: bytes | str | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(factory=dict)
    raw: bytes | None = None
    code: str | None = None


@final
@frozen
class Cut:
    """Answer as usual, but stop after so many events; a body that is no stream, in its middle.

    *how*: "fin" closes the connection inside the body, "rst" resets it, "end" ends the
    body in good order. With *terminal*, what ends an answer, such as the finish and
    ``[DONE]``, still comes before the cut.
    """

    after: int = field(default=1, validator=validators.ge(0))
    how: Literal["fin", "rst", "end"] = "fin"
    terminal: bool = False


@final
@frozen
class Hang:
    """Say nothing until the client leaves; or nothing more, *after* so many events."""

    after: int | None = None


Behaviour = Reply | Cut | Hang


@final
@define(eq=False)
class Orders:
    """What to do with the requests to come: the *script* first, then what is *always* done."""

    script: deque[Behaviour] = field(factory=deque)
    always: Behaviour | None = None

    def take(self) -> Behaviour | None:
        """Return what to do with the next request; None is to behave."""
        return self.script.popleft() if self.script else self.always


@final
@define(eq=False)
class Seen:
    """One request as it came, and how it *ended*.

    "open": under way; "served": to its end, an error or not; "cut": by the provider, as
    told; "left": by the client, before its end. Names of headers are lower case, *at* is
    loop time.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    ended: Literal["open", "served", "cut", "left"] = "open"

    @property
    def json(self) -> Any:  # noqa: ANN401 -- whatever the client sent
        """The body, decoded."""
        return json.loads(self.body)
