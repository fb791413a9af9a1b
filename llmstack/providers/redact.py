"""What may be repeated of a text that came from outside: little, short, and harmless.

Providers echo prompts, keys and whole HTML pages in the words of their errors. So control
characters, what looks like a key, and quoted passages are taken out, and the rest is cut.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from llmstack.errors import UpstreamError
from llmstack.providers.secret import Secret


__all__ = ["clean", "conceal", "identifier", "path", "request_id", "without_key"]

MOST: Final = 300
#: More of a text is not even looked at; cleaning takes time.
LOOK: Final = 4096

#: A known prefix, or letters and digits too long for a word.
_KEY: Final = re.compile(
    r"(?i)\bbearer\s+\S+"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|nvapi|org|proj)[-_][\w*-]{4,}"
    r"|\bAIza[\w-]{8,}|\beyJ[\w.-]{8,}"
    r"|(?<![\w/+=*-])(?=[\w/+=*-]*\d)(?=[\w/+=*-]*[a-z])[\w/+=*-]{32,}"
)
#: In quotes and more than one word: not the name of a parameter, so perhaps the prompt.
_QUOTED: Final = re.compile(r"(?<!\w)(['\"`])(?:(?!\1)\S)*\s.*?\1(?!\w)")
_HTML: Final = re.compile(r"(?i)<(?:!doctype|/?[a-z][a-z0-9]*[\s/>])")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}")
#: Where providers say by which name they know a request.
_REQUEST_IDS: Final = (
    *("x-request-id", "request-id", "apim-request-id", "x-generation-id"),
    *("x-amzn-requestid", "mistral-correlation-id"),
)
_PATH: Final = re.compile(r"[A-Za-z0-9_.\[\]]{1,64}")


def clean(text: object) -> str:
    r"""Return what may be shown of *text*, one line of at most 300 characters.

    >>> clean("bad value 'tell me a joke' for\x1b[31m key sk-abcdef")
    "bad value '…' for [31m key ***"
    """
    if not isinstance(text, str):
        return ""
    text = text[:LOOK]
    if _HTML.search(text):
        return ""
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    text = _QUOTED.sub(r"\1…\1", _KEY.sub("***", " ".join(text.split())))
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def identifier(value: object) -> str | None:
    """Return *value* if it looks like a code or an id, and not like a key."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return None
    return None if _KEY.fullmatch(value) and not _uuid(value) else value


def path(value: object) -> str | None:
    """Return *value* if it looks like the place of a parameter, and not like a key.

    >>> path("messages[0].role"), path("tell me a joke")
    ('messages[0].role', None)
    """
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        return None
    return None if _KEY.search(value) else value


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id by which the provider knows the request."""
    return next(filter(None, (identifier(headers.get(name)) for name in _REQUEST_IDS)), None)


def conceal(error: UpstreamError, key: Secret | None) -> None:
    """Take out of *error* whatever has *key* in it, in small letters or in capitals."""
    if key is None:
        return
    text = key.reveal().casefold()
    if text in str(error.args).casefold():
        error.args = ("",)
    error.code, error.request_id = (
        None if value is None or text in value.casefold() else value
        for value in (error.code, error.request_id)
    )


def without_key(headers: Mapping[str, str], key: Secret | None) -> Mapping[str, str]:
    """Return *headers* but for those that have *key* in them, in small letters or in capitals."""
    if key is None:
        return headers
    text = key.reveal().casefold()
    # All at once, for there is hardly ever one. No key has a line feed in it.
    if text not in "\n".join((*headers, *headers.values())).casefold():
        return headers
    return {
        name: value
        for name, value in headers.items()
        if text not in name.casefold() and text not in value.casefold()
    }


def _uuid(value: str) -> bool:
    """Whether it is made of groups of hex digits, as request ids are and keys are not."""
    return re.fullmatch(r"(?i)(?:req_|chatcmpl-|gen-)?[0-9a-f]+(?:-[0-9a-f]+)*", value) is not None
