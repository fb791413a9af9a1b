"""The fronts: one file for each dialect that callers may speak."""

from typing import Final

from llmstack.gateway.front import Front
from llmstack.gateway.fronts.messages import COUNT_TOKENS, MESSAGES
from llmstack.gateway.fronts.openai import CHAT, EMBEDDINGS
from llmstack.gateway.fronts.responses import RESPONSES


__all__ = ["CHAT", "COUNT_TOKENS", "EMBEDDINGS", "FRONTS", "MESSAGES", "RESPONSES"]

FRONTS: Final[tuple[Front, ...]] = (CHAT, EMBEDDINGS, MESSAGES, COUNT_TOKENS, RESPONSES)
