"""The tables: what becomes of each field, item, part and tool of a Responses request.

The code reads them, and the page ``docs/reference/translation_responses_over_chat.rst`` shows
them word for word; a test compares the two. Names are those of version 2.3.0 of the OpenAPI
document of OpenAI, schema ``CreateResponse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, final

from attrs import frozen


__all__ = ["CHOICES", "FIELDS", "ITEMS", "PARTS", "TOOLS", "Fate", "Row"]

#: *carried*: as it is, under the name that chat has for it. *translated*: in another form.
#: *dropped*: left out, and told. *refused*: `Untranslatable`.
Fate = Literal["carried", "translated", "dropped", "refused"]


@final
@frozen
class Row:
    """What becomes of one thing: where it goes, or why it does not."""

    fate: Fate
    words: str


_STATE: Final = "nothing is stored between requests"

FIELDS: Final[Mapping[str, Row]] = {
    "background": Row("refused", f"{_STATE}; false is what happens anyway"),
    "context_management": Row("dropped", "a conversation that is too long is an error instead"),
    "conversation": Row("refused", _STATE),
    "include": Row("translated", "log probabilities; what else it names is dropped"),
    "input": Row("translated", "messages"),
    "instructions": Row("translated", "the first message, of the system"),
    "max_output_tokens": Row("carried", "max_completion_tokens"),
    "max_tool_calls": Row("dropped", "it counts calls of hosted tools, and there are none"),
    "metadata": Row("carried", "metadata"),
    "model": Row("carried", "model"),
    "moderation": Row("refused", "chat completions say the verdict in another form"),
    "parallel_tool_calls": Row("translated", "parallel_tool_calls, if there are tools"),
    "previous_response_id": Row("refused", _STATE),
    "prompt": Row("refused", _STATE),
    "prompt_cache_key": Row("carried", "prompt_cache_key"),
    "prompt_cache_options": Row("carried", "prompt_cache_options"),
    "prompt_cache_retention": Row("carried", "prompt_cache_retention"),
    "reasoning": Row("translated", "its effort is reasoning_effort; the rest is dropped"),
    "safety_identifier": Row("carried", "safety_identifier"),
    "service_tier": Row("translated", "service_tier; ultrafast, which chat has not, is dropped"),
    "store": Row("refused", f"{_STATE}; false is what happens anyway"),
    "stream": Row("carried", "stream"),
    "stream_options": Row("translated", "usage is always asked for; obfuscation is dropped"),
    "temperature": Row("carried", "temperature"),
    "text": Row("translated", "response_format and verbosity"),
    "tool_choice": Row("translated", "tool_choice; auto and none only if there are tools"),
    "tools": Row("translated", "tools"),
    "top_logprobs": Row("translated", "logprobs and top_logprobs"),
    "top_p": Row("carried", "top_p"),
    "truncation": Row("translated", "disabled is what happens anyway; auto is dropped"),
    "user": Row("carried", "user"),
}

#: By type. All others are refused: they need a hosted tool, or state.
ITEMS: Final[Mapping[str, Row]] = {
    "custom_tool_call": Row("translated", "a custom call of the message of the assistant"),
    "custom_tool_call_output": Row("translated", "a message of the tool"),
    "function_call": Row("translated", "a call of the message of the assistant"),
    "function_call_output": Row("translated", "a message of the tool"),
    "item_reference": Row("refused", _STATE),
    "message": Row("translated", "a message of its role"),
    "reasoning": Row("dropped", "it is readable only to the provider that wrote it"),
}

#: By type, with the roles that may say it.
PARTS: Final[Mapping[str, Row]] = {
    "input_file": Row("translated", "file, of the user; a file_url is refused"),
    "input_image": Row("translated", "image_url, of the user; a file_id is refused"),
    "input_text": Row("translated", "text, or the content itself where it is the only part"),
    "output_text": Row("translated", "as input_text; annotations and logprobs are dropped"),
    "refusal": Row("translated", "the refusal of the message of the assistant"),
}

#: By type. All others are hosted tools, and refused.
TOOLS: Final[Mapping[str, Row]] = {
    "custom": Row("translated", "a custom tool, with its format"),
    "function": Row("translated", "a function; strict only if it is said"),
}

#: By the string, or by the type of the object. All others name hosted tools.
CHOICES: Final[Mapping[str, Row]] = {
    "allowed_tools": Row("translated", "allowed_tools, with the tools as chat names them"),
    "auto": Row("carried", "auto"),
    "custom": Row("translated", "the custom tool of that name"),
    "function": Row("translated", "the function of that name"),
    "none": Row("carried", "none"),
    "required": Row("carried", "required"),
}
