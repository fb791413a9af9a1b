"""Who may speak to the admin API: pure, and asked before anything else is looked at.

With a token whoever has it may. Without one the listener is at a loopback address, and only
a browser could bring somebody else's wishes there. It says so: in ``Origin``, or, where a
name was bent to this machine, in ``Host``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hmac import compare_digest
from typing import Final

from aiohttp import hdrs

from llmstack.errors import LLMStackError
from llmstack.gateway.admin.settings import Admin
from llmstack.gateway.errors import SERVER, Problem
from llmstack.providers.credential import Credential
from llmstack.providers.loopback import is_loopback


__all__ = ["CHALLENGE", "denied"]

#: What a 401 says that it wants.
CHALLENGE: Final = 'Bearer realm="llmstack admin"'

_HOST: Final = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")


def denied(admin: Admin, headers: Mapping[str, str]) -> Problem | None:
    """Return why whoever sent *headers* may not speak to the admin API; None if they may."""
    if admin.token is None:
        return _from_elsewhere(headers)
    return _without(admin.token, headers.get(hdrs.AUTHORIZATION, ""))


def _from_elsewhere(headers: Mapping[str, str]) -> Problem | None:
    if hdrs.ORIGIN in headers:
        message = "a web page must not ask the admin API; leave the header Origin out"
        return Problem(403, message, param="Origin", code="forbidden_origin", close=True)
    match = _HOST.fullmatch(headers.get(hdrs.HOST, ""))
    if match is None or not is_loopback(match[1] or match[2] or ""):
        message = "the header Host must name this machine, such as 127.0.0.1 or localhost"
        return Problem(403, message, param="Host", code="forbidden_host", close=True)
    return None


def _without(token: Credential, said: str) -> Problem | None:
    try:
        known = token.current().reveal().encode()
    except LLMStackError:
        message = "the token of the admin API cannot be read now; look where it comes from"
        return Problem(503, message, SERVER, code="no_token", close=True)
    scheme, _, given = said.partition(" ")
    # Whatever the scheme, so that it takes as long.
    is_right = compare_digest(given.strip().encode(errors="surrogateescape"), known)
    if is_right and scheme.lower() == "bearer":
        return None
    message = "the header Authorization must be Bearer, a space, and the token of the admin API"
    return Problem(401, message, param="Authorization", code="unauthorized", close=True)
