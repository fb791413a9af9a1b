"""A configuration that is right, and what to do with one that is not."""

from __future__ import annotations

import pytest

from llmstack.config import ConfigMistakes, parse


__all__ = ["EXAMPLE", "LAYERED", "mistakes_of"]

EXAMPLE = """\
[server]
listen = "127.0.0.1:8080"

[endpoints.eu]
provider = "openai"                      # the wire format
base_url = "http://127.0.0.1:9001/v1"
api_key = "env:EU_KEY"                   # may be left out for servers without keys
model = "gpt-4o-2024-08-06"              # what the provider calls it; left out: as asked for
price = { input = 2.5, output = 10.0 }   # USD per million tokens
weight = 3

[endpoints.us]
provider = "openai"
base_url = "http://127.0.0.1:9002/v1"
models = { chat = "gpt-4o", "*" = "*" }
capabilities = { context = 128_000, vision = false }
tags = ["usa", "no-training"]
connect = 1.5

[routes.chat]                            # callers ask for model "chat"; "*" takes every other name
layers = [                               # reads like ServiceBuilder: first is outermost
  { use = "deadline", seconds = 60 },
  { use = "retry", attempts = 3 },
  { use = "latency_based", endpoints = ["eu", "us"] },   # endpoints or other routes
  { use = "circuit_breaker", policy = { use = "failure_ratio", ratio = 0.3 } },
  { use = "timeout", first_token = 10, idle = 30, total = 25 },
]

[routes."*"]
layers = [{ use = "fallback", endpoints = ["chat", "eu"], triggers = ["Busy", "NotReady"] }]
"""

#: A file with the layers in the braces, which begin on line 4.
LAYERED = """\
endpoints.eu = {{ provider = "openai", base_url = "http://127.0.0.1:9001" }}
endpoints.us = {{ provider = "openai", base_url = "http://127.0.0.1:9002" }}
routes.chat.layers = [
{}
]
"""


def mistakes_of(text: str) -> list[str]:
    """What is wrong with the configuration *text*."""
    with pytest.raises(ConfigMistakes) as raised:
        parse(text)
    return list(raised.value.mistakes)
