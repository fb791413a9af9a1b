"""A call to a language model passes through a stack of layers, and a router is a layer too.

>>> import llmstack as ls
>>> stack = ls.ServiceBuilder().layer(ls.Deadline(30)).layer(ls.Retry()).service(ls.dispatch)
>>> stack
<Stack deadline > retry > dispatch>

A name is loaded from its module when it is first asked for, so that the import costs next to
nothing and aiohttp is loaded only by who talks to a network. Types are in ``__init__.pyi``.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final


__all__ = [
    "AccountFault",
    "Anthropic",
    "Attempt",
    "AuthFailed",
    "BadRequest",
    "Blocked",
    "Broken",
    "BudgetExceeded",
    "Busy",
    "Call",
    "CallerFault",
    "Capabilities",
    "CircuitBreaker",
    "CircuitOpen",
    "ConcurrencyFull",
    "ConcurrencyLimit",
    "ConfigError",
    "ConnectionFailed",
    "ConnectionLost",
    "ConsecutiveFailures",
    "ContentFiltered",
    "ContextLengthExceeded",
    "CoolingDown",
    "CostBased",
    "Deadline",
    "DeadlineExceeded",
    "Disabled",
    "Draining",
    "EmptyResponse",
    "Endpoint",
    "EndpointSet",
    "EventStream",
    "FailureRatio",
    "Fallback",
    "LLMStackError",
    "LatencyBased",
    "Layer",
    "Log",
    "MemoryRecorder",
    "Metrics",
    "ModelNotFound",
    "NoEndpoint",
    "NotReady",
    "OpenAI",
    "Outcome",
    "Overloaded",
    "PayloadTooLarge",
    "PermissionDenied",
    "Price",
    "Probes",
    "ProtocolError",
    "QueueFull",
    "QuotaExhausted",
    "QuotaFull",
    "RateLimited",
    "RateLimitedHere",
    "Recorder",
    "Refused",
    "Reply",
    "Request",
    "Response",
    "Retry",
    "RoundRobin",
    "Secret",
    "ServerError",
    "Service",
    "ServiceBuilder",
    "Shed",
    "Stack",
    "StackWarning",
    "StreamBroken",
    "StreamIncomplete",
    "Timeout",
    "Translate",
    "Translated",
    "Translator",
    "Transport",
    "Untranslatable",
    "UpstreamError",
    "UpstreamTimeout",
    "Usage",
    "WeightedRandom",
    "__version__",
    "by_endpoint",
    "by_model",
    "by_tenant",
    "dispatch",
    "either",
    "filter",
    "layer_fn",
    "map_error",
    "map_request",
    "map_response",
    "observe",
    "optional",
    "service_fn",
]

__version__ = "0.1.0"

_HOMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "llmstack.builder": (
            "ServiceBuilder",
            "Stack",
        ),
        "llmstack.call": (
            "Attempt",
            "Call",
            "Outcome",
            "Usage",
        ),
        "llmstack.combine": (
            "either",
            "filter",
            "layer_fn",
            "map_error",
            "map_request",
            "map_response",
            "optional",
            "service_fn",
        ),
        "llmstack.dialects.translator": (
            "Translated",
            "Translator",
        ),
        "llmstack.endpoint": (
            "Capabilities",
            "Endpoint",
            "EndpointSet",
            "Price",
        ),
        "llmstack.errors": (
            "AccountFault",
            "AuthFailed",
            "BadRequest",
            "Blocked",
            "Broken",
            "BudgetExceeded",
            "Busy",
            "CallerFault",
            "CircuitOpen",
            "ConcurrencyFull",
            "ConfigError",
            "ConnectionFailed",
            "ConnectionLost",
            "ContentFiltered",
            "ContextLengthExceeded",
            "CoolingDown",
            "DeadlineExceeded",
            "Disabled",
            "Draining",
            "EmptyResponse",
            "LLMStackError",
            "ModelNotFound",
            "NoEndpoint",
            "NotReady",
            "Overloaded",
            "PayloadTooLarge",
            "PermissionDenied",
            "ProtocolError",
            "QueueFull",
            "QuotaExhausted",
            "QuotaFull",
            "RateLimited",
            "RateLimitedHere",
            "Refused",
            "ServerError",
            "Shed",
            "StreamBroken",
            "StreamIncomplete",
            "Untranslatable",
            "UpstreamError",
            "UpstreamTimeout",
        ),
        "llmstack.estimators.circuit": ("Probes",),
        "llmstack.estimators.trip": (
            "ConsecutiveFailures",
            "FailureRatio",
        ),
        "llmstack.layers.circuit_breaker": ("CircuitBreaker",),
        "llmstack.layers.concurrency_limit": ("ConcurrencyLimit",),
        "llmstack.layers.deadline": ("Deadline",),
        "llmstack.layers.log": ("Log",),
        "llmstack.layers.metrics": ("Metrics",),
        "llmstack.layers.retry": ("Retry",),
        "llmstack.layers.timeout": ("Timeout",),
        "llmstack.layers.translate": ("Translate",),
        "llmstack.messages": (
            "EventStream",
            "Reply",
            "Request",
            "Response",
            "dispatch",
        ),
        "llmstack.order": ("StackWarning",),
        "llmstack.providers.anthropic": ("Anthropic",),
        "llmstack.providers.openai": ("OpenAI",),
        "llmstack.providers.secret": ("Secret",),
        "llmstack.providers.transport": ("Transport",),
        "llmstack.recorder": (
            "MemoryRecorder",
            "Recorder",
        ),
        "llmstack.routers.cost_based": ("CostBased",),
        "llmstack.routers.fallback": ("Fallback",),
        "llmstack.routers.latency_based": ("LatencyBased",),
        "llmstack.routers.round_robin": ("RoundRobin",),
        "llmstack.routers.weighted_random": ("WeightedRandom",),
        "llmstack.service": (
            "Layer",
            "Service",
            "by_endpoint",
            "by_model",
            "by_tenant",
            "observe",
        ),
    }
)


def __getattr__(name: str) -> object:
    """Load a public name from the module that it lives in."""
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(home), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
