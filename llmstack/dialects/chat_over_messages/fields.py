"""What becomes of each field of a chat request: the tables, and the rule that they settle.

A field that is in no table is dropped and told. A value that asks for nothing (null, or what
the table `NEUTRAL` has) is left out without a word. Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmstack.dialects.place import Place


__all__ = [
    "DROPPED",
    "EFFORTS",
    "MAX_TOKENS",
    "NEUTRAL",
    "REFUSED",
    "TIERS",
    "TRANSLATED",
    "left_out",
]

#: Messages has no request without a limit: this one is set where the caller sets none.
MAX_TOKENS: Final = 16_384

#: What a field becomes.
TRANSLATED: Final[Mapping[str, str]] = {
    "function_call": "tool_choice",
    "functions": "tools",
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "messages": "system and messages",
    "metadata": "metadata.user_id, if it has a user_id",
    "model": "model",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "output_config.effort, or thinking",
    "response_format": "output_config.format",
    "safety_identifier": "metadata.user_id",
    "service_tier": "service_tier",
    "stop": "stop_sequences",
    "stream": "stream",
    "stream_options": "a chunk with the usage, if include_usage is set",
    "temperature": "temperature, at most 1",
    "tool_choice": "tool_choice",
    "tools": "tools",
    "top_p": "top_p",
    "user": "metadata.user_id",
}
#: Why a field may be left out: the reply means the same without it.
DROPPED: Final[Mapping[str, str]] = {
    "frequency_penalty": "no such sampling parameter; the reply may repeat itself more",
    "prediction": "only makes replies faster",
    "presence_penalty": "no such sampling parameter; the reply may stay closer to its topics",
    "prompt_cache_key": "only makes prompts cheaper",
    "prompt_cache_options": "only makes prompts cheaper",
    "prompt_cache_retention": "only makes prompts cheaper",
    "seed": "is best effort where it exists",
    "store": "the reply is not kept by the provider",
    "verbosity": "no such hint; replies have their usual length",
}
#: Why a field cannot be left out: the caller would read the reply wrongly.
REFUSED: Final[Mapping[str, str]] = {
    "audio": "Messages has no audio",
    "logit_bias": "its token numbers mean nothing to another model",
    "logprobs": "Messages has no log probabilities",
    "modalities": "Messages replies in text only",
    "moderation": "Messages has no moderation results",
    "n": "Messages has one reply only",
    "top_logprobs": "Messages has no log probabilities",
    "web_search_options": "the search would not be made",
}
#: Values, null aside, that ask for nothing.
NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "store": (False,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
#: ``reasoning_effort`` as ``output_config.effort``; "none" turns thinking off.
EFFORTS: Final[Mapping[str, str]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
#: ``service_tier`` here and there; the other tiers are dropped.
TIERS: Final[Mapping[str, str]] = {"auto": "auto", "default": "standard_only"}


def left_out(asked: Place, /) -> None:
    """Drop the fields that can be left out; raise for one that is refused."""
    silent = []
    for name, value in asked.fields().items():
        if value in (None, *NEUTRAL.get(name, ())):
            silent.append(name)
        elif name in REFUSED:
            raise asked[name].refusal(REFUSED[name])
    asked.rest(*TRANSLATED, *silent)
