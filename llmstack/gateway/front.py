"""What is particular to one dialect on the caller's side: a table of values and functions.

A front knows which fields a request has, how an error is told in a reply of its own and in a
stream, and how to keep a silent stream alive. Everything else is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, final

from attrs import frozen

from llmstack.gateway.errors import Problem
from llmstack.gateway.fields import Kind
from llmstack.stream import EventStream


__all__ = ["COMMENT", "Fields", "Front", "Look", "Tell"]

Fields = Mapping[str, Any]

#: What is looked at below the first level: the path, what must be there, and what is.
Look = Iterable[tuple[str, Kind, Any]]

#: Makes bytes for the client of a problem and the id of its request.
Tell = Callable[[Problem, str], bytes]

#: A line that no reader of events takes for one.
COMMENT: Final = b": ping\n\n"


@final
@frozen(kw_only=True)
class Front:
    """How callers of one *operation* ask, and how they are told.

    *known* are the types of the fields that are known; those that *needs* looks at more
    closely may have any there. *below* yields what is looked at inside of them. *body* makes
    the body of an error reply. *watch* gets a stream before its first event is read, and
    returns what makes the last event of it, should it break. *ping* is written to a client
    that waits. Of the caller's headers a provider sees those that *passes* names;
    *id_header* is one more header with the name of the request.
    """

    operation: str
    known: Mapping[str, Kind]
    needs: Callable[[Fields], Problem | None]
    below: Callable[[Fields], Look]
    body: Tell
    watch: Callable[[EventStream], Tell]
    ping: bytes = COMMENT
    streams: bool = True
    passes: tuple[str, ...] = ()
    id_header: str = ""
