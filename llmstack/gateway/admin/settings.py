"""Where the admin API listens, and who may speak to it.

Errors: `ConfigError`.
"""

from __future__ import annotations

from typing import final

from attrs import field, frozen

from llmstack.providers.address import sendable
from llmstack.providers.credential import Credential, as_credential
from llmstack.providers.loopback import check_reach


__all__ = ["Admin"]


@final
@frozen(kw_only=True)
class Admin:
    """The listener of the admin API: its host and port, and the *token* that it asks for.

    Without a token it listens at a loopback address only, and there refuses what a web page
    could have sent. A string is the token itself; a `Credential` may change.

    >>> Admin()
    Admin(listen=('127.0.0.1', 8081))
    """

    listen: tuple[str, int] = ("127.0.0.1", 8081)
    token: Credential | None = field(
        default=None, converter=as_credential, validator=sendable, repr=False
    )

    def __attrs_post_init__(self) -> None:
        check_reach(self.listen[0], has_token=self.token is not None)
