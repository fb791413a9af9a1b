"""What a stream took, guessed where the provider did not say: cut, left, or never counted.

Four bytes are taken for a token, as in `llmstack.estimators.tokens`. A guess is flagged, so
that nobody takes it for a bill.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from llmstack.call import Usage


__all__ = ["estimated", "text_bytes"]

BYTES_PER_TOKEN: Final = 4


def estimated(said: Usage | None, prompt: int, text: int) -> Usage:
    """Return the guess for a stream of *text* bytes of content.

    What the provider has *said* so far stands: its count of the prompt instead of ours, and
    its count of the output where that is more.

    >>> estimated(None, 9, 5)
    Usage(input=9, output=2, cached=0, estimated=True)
    >>> estimated(Usage(input=7, output=1, cached=3), 9, 5)
    Usage(input=7, output=2, cached=3, estimated=True)
    """
    output = -(-text // BYTES_PER_TOKEN)
    if said is None:
        return Usage(prompt, output, estimated=True)
    return Usage(said.input, max(said.output, output), said.cached, estimated=True)


def text_bytes(value: object, names: Collection[str]) -> int:
    """Return how many bytes the texts under these *names* have, however deep they stand.

    >>> text_bytes({"content": "hé", "calls": [{"arguments": "{}"}], "id": "c1"}, {"content"})
    3
    """
    total = 0
    left = [value]  # no recursion: as deep as the parser could read
    while left:
        item = left.pop()
        if isinstance(item, dict):
            texts = [item[name] for name in names if isinstance(item.get(name), str)]
            total += sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
            left += item.values()
        elif isinstance(item, list):
            left += item
    return total
