"""A call to a language model passes through a stack of layers, and a router is a layer too.

>>> import llmstack as ls
>>> stack = ls.ServiceBuilder().layer(ls.Deadline(30)).layer(ls.Retry()).service(ls.dispatch)
>>> stack
<Stack deadline > retry > dispatch>
"""

from llmstack.builder import (
    ServiceBuilder,
    Stack,
)
from llmstack.call import (
    Attempt,
    Call,
    Outcome,
    Usage,
)
from llmstack.combine import (
    either,
    filter,  # noqa: A004 -- the field's own word for it
    layer_fn,
    map_error,
    map_request,
    map_response,
    optional,
    service_fn,
)
from llmstack.endpoint import (
    Capabilities,
    Endpoint,
    EndpointSet,
    Price,
)
from llmstack.errors import (
    AccountFault,
    AuthFailed,
    BadRequest,
    Blocked,
    Broken,
    BudgetExceeded,
    Busy,
    CallerFault,
    CircuitOpen,
    ConcurrencyFull,
    ConfigError,
    ConnectionFailed,
    ConnectionLost,
    ContentFiltered,
    ContextLengthExceeded,
    CoolingDown,
    DeadlineExceeded,
    Disabled,
    Draining,
    EmptyResponse,
    LLMStackError,
    ModelNotFound,
    NoEndpoint,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QueueFull,
    QuotaExhausted,
    QuotaFull,
    RateLimited,
    RateLimitedHere,
    Refused,
    ServerError,
    Shed,
    StreamBroken,
    StreamIncomplete,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.estimators.circuit import (
    Probes,
)
from llmstack.estimators.trip import (
    ConsecutiveFailures,
    FailureRatio,
)
from llmstack.layers.circuit_breaker import (
    CircuitBreaker,
)
from llmstack.layers.concurrency_limit import (
    ConcurrencyLimit,
)
from llmstack.layers.deadline import (
    Deadline,
)
from llmstack.layers.log import (
    Log,
)
from llmstack.layers.metrics import (
    Metrics,
)
from llmstack.layers.retry import (
    Retry,
)
from llmstack.layers.timeout import (
    Timeout,
)
from llmstack.messages import (
    EventStream,
    Reply,
    Request,
    Response,
    dispatch,
)
from llmstack.order import (
    StackWarning,
)
from llmstack.recorder import (
    MemoryRecorder,
    Recorder,
)
from llmstack.routers.cost_based import (
    CostBased,
)
from llmstack.routers.fallback import (
    Fallback,
)
from llmstack.routers.latency_based import (
    LatencyBased,
)
from llmstack.routers.round_robin import (
    RoundRobin,
)
from llmstack.routers.weighted_random import (
    WeightedRandom,
)
from llmstack.service import (
    Layer,
    Service,
    by_endpoint,
    by_model,
    by_tenant,
    observe,
)


__all__ = [
    "AccountFault",
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
    "ServerError",
    "Service",
    "ServiceBuilder",
    "Shed",
    "Stack",
    "StackWarning",
    "StreamBroken",
    "StreamIncomplete",
    "Timeout",
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
