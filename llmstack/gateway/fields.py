"""The fields of a request that are well known, and those that no caller may set.

Well-known fields are checked for their type before anything is sent; a provider sees the
others as they are. A field that could choose where a key is sent is refused, however it is
spelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, final

from attrs import frozen


__all__ = ["FORBIDDEN", "KNOWN", "Kind", "called", "inner", "is_forbidden", "plain"]


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


STRING: Final = Kind(_is_string, "a string")
BOOL: Final = Kind(_is_bool, "true or false")
NUMBER: Final = Kind(_is_number, "a number")
INTEGER: Final = Kind(_is_integer, "an integer")
COUNT: Final = Kind(_is_count, "an integer from 1 up")
OBJECT: Final = Kind(_is_object, "an object")
STRINGS: Final = Kind(_are_strings, "an array of strings")
OBJECTS: Final = Kind(_are_objects, "an array of objects")
CHOICE: Final = Kind(_is_choice, "a string or an object")
STOP: Final = Kind(_is_stop, "a string or an array of strings")
#: What must be there is looked at more closely than by its type.
LOOKED_AT: Final = Kind(_is_any, "anything")

_BOTH: Final[Mapping[str, Kind]] = {"model": LOOKED_AT, "user": STRING}

#: By operation: the fields that are known. Those with a type may be null, which leaves them out.
KNOWN: Final[Mapping[str, Mapping[str, Kind]]] = {
    "chat": {
        **_BOTH,
        "audio": OBJECT,
        "frequency_penalty": NUMBER,
        "function_call": CHOICE,
        "functions": OBJECTS,
        "logit_bias": OBJECT,
        "logprobs": BOOL,
        "max_completion_tokens": COUNT,
        "max_tokens": COUNT,
        "messages": LOOKED_AT,
        "metadata": OBJECT,
        "modalities": STRINGS,
        "n": COUNT,
        "parallel_tool_calls": BOOL,
        "prediction": OBJECT,
        "presence_penalty": NUMBER,
        "prompt_cache_key": STRING,
        "reasoning_effort": STRING,
        "response_format": OBJECT,
        "safety_identifier": STRING,
        "seed": INTEGER,
        "service_tier": STRING,
        "stop": STOP,
        "store": BOOL,
        "stream": BOOL,
        "stream_options": OBJECT,
        "temperature": NUMBER,
        "tool_choice": CHOICE,
        "tools": OBJECTS,
        "top_logprobs": INTEGER,
        "top_p": NUMBER,
        "verbosity": STRING,
        "web_search_options": OBJECT,
    },
    "embeddings": {
        **_BOTH,
        "dimensions": COUNT,
        "encoding_format": STRING,
        "input": LOOKED_AT,
    },
}

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


def inner(data: Mapping[str, Any]) -> Iterator[tuple[str, Kind, Any]]:
    """Yield what is looked at below the first level of a chat: path, kind and value.

    The first level must be good. It is these few; a provider sees all others as they are.
    """
    usage = (data.get("stream_options") or {}).get("include_usage")
    yield "stream_options.include_usage", BOOL, usage
    for n, message in enumerate(data["messages"]):
        if "tool_calls" in message:
            yield f"messages[{n}].tool_calls", OBJECTS, message["tool_calls"]
        content = message.get("content")
        if isinstance(content, list):
            yield from _parts(f"messages[{n}].content", content)


def _parts(path: str, content: list[Any]) -> Iterator[tuple[str, Kind, Any]]:
    yield path, OBJECTS, content  # whoever finds that it does not fit asks for no more
    for n, part in enumerate(content):
        yield f"{path}[{n}].text", STRING, part.get("text")


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
