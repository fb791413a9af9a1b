"""The Anthropic wire format: messages, whole and streamed, and the count of their tokens.

`Anthropic` is the leaf. `classify` is the table of errors, `progress` knows what the events
of a stream mean, `complete` reads whole replies.
"""

from llmstack.providers.anthropic.leaf import Anthropic


__all__ = ["Anthropic"]
