"""What fields of a request may be, and which no caller may set.

Well-known fields, which are those of a front, are checked for their type before anything is
sent; a provider sees the others as they are. A field that could choose where a key is sent is
refused, however it is spelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from attrs import frozen

from llmstack.gateway.errors import Problem


__all__ = [
    "BOOL",
    "CHOICE",
    "CONTENT",
    "COUNT",
    "FORBIDDEN",
    "INTEGER",
    "LOOKED_AT",
    "NUMBER",
    "OBJECT",
    "OBJECTS",
    "STOP",
    "STRING",
    "STRINGS",
    "TEXTS",
    "WHOLE",
    "Kind",
    "bad",
    "called",
    "is_forbidden",
    "must_be",
    "plain",
]


@final
@frozen
class Kind:
    """What a field may be: a test of the value, and what to say if it fails."""

    fits: Callable[[Any], bool]
    says: str


def _is_any(_value: object) -> bool:
    return True


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_bool(value: object) -> bool:
    return value is True or value is False


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not _is_bool(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not _is_bool(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not _is_bool(value) and value >= 1


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not _is_bool(value) and value >= 0


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _is_choice(value: object) -> bool:
    return isinstance(value, (str, dict))


def _is_stop(value: object) -> bool:
    return isinstance(value, str) or _are_strings(value)


def _are_texts(value: object) -> bool:
    return isinstance(value, str) or _are_objects(value)


def _is_content(value: object) -> bool:
    return isinstance(value, (str, list))


STRING: Final = Kind(_is_string, "a string")
BOOL: Final = Kind(_is_bool, "true or false")
NUMBER: Final = Kind(_is_number, "a number")
INTEGER: Final = Kind(_is_integer, "an integer")
COUNT: Final = Kind(_is_count, "an integer from 1 up")
WHOLE: Final = Kind(_is_whole, "an integer from 0 up")
OBJECT: Final = Kind(_is_object, "an object")
STRINGS: Final = Kind(_are_strings, "an array of strings")
OBJECTS: Final = Kind(_are_objects, "an array of objects")
CHOICE: Final = Kind(_is_choice, "a string or an object")
STOP: Final = Kind(_is_stop, "a string or an array of strings")
TEXTS: Final = Kind(_are_texts, "a string or an array of objects")
CONTENT: Final = Kind(_is_content, "a string or an array")
#: What must be there is looked at more closely than by its type.
LOOKED_AT: Final = Kind(_is_any, "anything")

#: What could choose where a key is sent, which one, or by what way; as `plain` spells it.
FORBIDDEN: Final = frozenset(
    """
    accesstoken apibase apihost apikey apikeys apitoken apitype apiurl apiversion auth
    authorization awsaccesskeyid awsbedrockruntimeendpoint awsprofilename awsregionname
    awsrolename awssecretaccesskey awssessionname awssessiontoken awsstsendpoint
    awswebidentitytoken azureadtoken azuredeployment azureendpoint baseurl bearertoken
    clientcert clientid clientsecret contextwindowfallbacks cookies credential credentials
    customllmprovider defaultheaders defaultquery deployment deploymentid endpoint endpoints
    endpointurl extrabody extraheaders extraquery fallbacks headers host hostname httpclient
    httpproxy httpsproxy litellmcredentialname litellmparams llmprovider mockdelay
    mockresponse mocktimeout mocktoolcalls modellist organisation organization
    organizationid password port project provider providers proxies proxy proxyurl
    regionname scheme secret secretkey serverurl sslverify targeturl tenantid token trustenv
    uri url userconfig username verify verifyssl vertexcredentials vertexlocation
    vertexproject
    """.split()  # noqa: SIM905 -- ninety words are read more easily than ninety literals
)

#: The same, whatever stands before it: ``openai_api_key``, ``websocket_base_url``.
_ENDINGS: Final = tuple(
    """
    accesskey accesskeyid accesstoken apibase apihost apikey apikeys apitoken apiurl apiversion
    authorization authtoken baseurl bearertoken clientsecret credential credentials endpoint
    endpoints endpointurl extrabody extraheaders extraquery headers httpproxy httpsproxy
    password proxyurl secretkey serverurl
    """.split()  # noqa: SIM905 -- as above
)


def is_forbidden(name: str) -> bool:
    """Whether no caller may set *name*.

    >>> is_forbidden("OpenAI-API-Key"), is_forbidden("prompt_cache_key")
    (True, False)
    """
    word = plain(name)
    return word in FORBIDDEN or word.endswith(_ENDINGS)


def plain(name: str) -> str:
    """Return *name* as `FORBIDDEN` spells it.

    >>> plain("Base-URL"), plain("api_key")
    ('baseurl', 'apikey')
    """
    return name.lower().translate(_PLAIN)


_PLAIN: Final = str.maketrans("", "", "_-. ")


def called(value: object) -> str:
    """Return what JSON calls the type of *value*, never the value."""
    for kind, name in _NAMES:
        if isinstance(value, kind):
            return name
    return "null"


_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (str, "a string"),
    (bool, "true or false"),
    (int, "an integer"),
    (float, "a number"),
    (list, "an array"),
    (dict, "an object"),
)


def must_be(what: str, value: object) -> str:
    """Return what to say of a *value* that is not *what* it must be."""
    has = called(value)
    is_plain = value is None or what.startswith(has)
    return f"must be {what}" if is_plain else f"must be {what}, and it is {has}"


def bad(param: str, message: str) -> Problem:
    """Return the problem that the field *param* has, as *message* says."""
    return Problem(400, f"{param} {message}", param=param, code="invalid_value")
