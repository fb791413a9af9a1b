"""The OpenAI wire format, which many providers and servers speak.

`OpenAI` is the leaf. `classify` is the table of errors, `progress` knows what the events of
a stream mean, `complete` reads whole replies.
"""

from llmstack.providers.openai.leaf import OpenAI


__all__ = ["OpenAI"]
