from llmstack.builder import (
    ServiceBuilder as ServiceBuilder,
)
from llmstack.builder import (
    Stack as Stack,
)
from llmstack.call import (
    Attempt as Attempt,
)
from llmstack.call import (
    Call as Call,
)
from llmstack.call import (
    Outcome as Outcome,
)
from llmstack.call import (
    Usage as Usage,
)
from llmstack.combine import (
    either as either,
)
from llmstack.combine import (
    filter as filter,  # noqa: A004 -- the field's own word for it
)
from llmstack.combine import (
    layer_fn as layer_fn,
)
from llmstack.combine import (
    map_error as map_error,
)
from llmstack.combine import (
    map_request as map_request,
)
from llmstack.combine import (
    map_response as map_response,
)
from llmstack.combine import (
    optional as optional,
)
from llmstack.combine import (
    service_fn as service_fn,
)
from llmstack.dialects.translator import (
    Translated as Translated,
)
from llmstack.dialects.translator import (
    Translator as Translator,
)
from llmstack.endpoint import (
    Capabilities as Capabilities,
)
from llmstack.endpoint import (
    Endpoint as Endpoint,
)
from llmstack.endpoint import (
    EndpointSet as EndpointSet,
)
from llmstack.endpoint import (
    Price as Price,
)
from llmstack.errors import (
    AccountFault as AccountFault,
)
from llmstack.errors import (
    AuthFailed as AuthFailed,
)
from llmstack.errors import (
    BadRequest as BadRequest,
)
from llmstack.errors import (
    Blocked as Blocked,
)
from llmstack.errors import (
    Broken as Broken,
)
from llmstack.errors import (
    BudgetExceeded as BudgetExceeded,
)
from llmstack.errors import (
    Busy as Busy,
)
from llmstack.errors import (
    CallerFault as CallerFault,
)
from llmstack.errors import (
    CircuitOpen as CircuitOpen,
)
from llmstack.errors import (
    ConcurrencyFull as ConcurrencyFull,
)
from llmstack.errors import (
    ConfigError as ConfigError,
)
from llmstack.errors import (
    ConnectionFailed as ConnectionFailed,
)
from llmstack.errors import (
    ConnectionLost as ConnectionLost,
)
from llmstack.errors import (
    ContentFiltered as ContentFiltered,
)
from llmstack.errors import (
    ContextLengthExceeded as ContextLengthExceeded,
)
from llmstack.errors import (
    CoolingDown as CoolingDown,
)
from llmstack.errors import (
    DeadlineExceeded as DeadlineExceeded,
)
from llmstack.errors import (
    Disabled as Disabled,
)
from llmstack.errors import (
    Draining as Draining,
)
from llmstack.errors import (
    EmptyResponse as EmptyResponse,
)
from llmstack.errors import (
    LLMStackError as LLMStackError,
)
from llmstack.errors import (
    ModelNotFound as ModelNotFound,
)
from llmstack.errors import (
    NoEndpoint as NoEndpoint,
)
from llmstack.errors import (
    NotReady as NotReady,
)
from llmstack.errors import (
    Overloaded as Overloaded,
)
from llmstack.errors import (
    PayloadTooLarge as PayloadTooLarge,
)
from llmstack.errors import (
    PermissionDenied as PermissionDenied,
)
from llmstack.errors import (
    ProtocolError as ProtocolError,
)
from llmstack.errors import (
    QueueFull as QueueFull,
)
from llmstack.errors import (
    QuotaExhausted as QuotaExhausted,
)
from llmstack.errors import (
    QuotaFull as QuotaFull,
)
from llmstack.errors import (
    RateLimited as RateLimited,
)
from llmstack.errors import (
    RateLimitedHere as RateLimitedHere,
)
from llmstack.errors import (
    Refused as Refused,
)
from llmstack.errors import (
    ServerError as ServerError,
)
from llmstack.errors import (
    Shed as Shed,
)
from llmstack.errors import (
    StreamBroken as StreamBroken,
)
from llmstack.errors import (
    StreamIncomplete as StreamIncomplete,
)
from llmstack.errors import (
    Unhealthy as Unhealthy,
)
from llmstack.errors import (
    Untranslatable as Untranslatable,
)
from llmstack.errors import (
    UpstreamError as UpstreamError,
)
from llmstack.errors import (
    UpstreamTimeout as UpstreamTimeout,
)
from llmstack.estimators.cooling import (
    CoolingBoard as CoolingBoard,
)
from llmstack.estimators.cusum import (
    Cusum as Cusum,
)
from llmstack.estimators.phase import (
    Probes as Probes,
)
from llmstack.estimators.retry_budget import (
    RetryBudget as RetryBudget,
)
from llmstack.estimators.retry_rule import (
    RetryRule as RetryRule,
)
from llmstack.estimators.trip import (
    ConsecutiveFailures as ConsecutiveFailures,
)
from llmstack.estimators.trip import (
    FailureRatio as FailureRatio,
)
from llmstack.estimators.z_score import (
    LatencyZScore as LatencyZScore,
)
from llmstack.layers.circuit_breaker import (
    CircuitBreaker as CircuitBreaker,
)
from llmstack.layers.concurrency_limit import (
    ConcurrencyLimit as ConcurrencyLimit,
)
from llmstack.layers.cooldown import (
    Cooldown as Cooldown,
)
from llmstack.layers.deadline import (
    Deadline as Deadline,
)
from llmstack.layers.health import (
    Health as Health,
)
from llmstack.layers.hedge import (
    Hedge as Hedge,
)
from llmstack.layers.log import (
    Log as Log,
)
from llmstack.layers.metrics import (
    Metrics as Metrics,
)
from llmstack.layers.retry import (
    Retry as Retry,
)
from llmstack.layers.timeout import (
    Timeout as Timeout,
)
from llmstack.layers.translate import (
    Translate as Translate,
)
from llmstack.messages import (
    EventStream as EventStream,
)
from llmstack.messages import (
    Reply as Reply,
)
from llmstack.messages import (
    Request as Request,
)
from llmstack.messages import (
    Response as Response,
)
from llmstack.messages import (
    dispatch as dispatch,
)
from llmstack.order import (
    StackWarning as StackWarning,
)
from llmstack.providers.anthropic import (
    Anthropic as Anthropic,
)
from llmstack.providers.constant import (
    Constant as Constant,
)
from llmstack.providers.credential import (
    credential as credential,
)
from llmstack.providers.key import (
    Key as Key,
)
from llmstack.providers.key import (
    with_keys as with_keys,
)
from llmstack.providers.openai import (
    OpenAI as OpenAI,
)
from llmstack.providers.probes import (
    HttpGet as HttpGet,
)
from llmstack.providers.probes import (
    OneToken as OneToken,
)
from llmstack.providers.probes import (
    TcpConnect as TcpConnect,
)
from llmstack.providers.secret import (
    Secret as Secret,
)
from llmstack.providers.transport import (
    Transport as Transport,
)
from llmstack.recorder import (
    MemoryRecorder as MemoryRecorder,
)
from llmstack.recorder import (
    Recorder as Recorder,
)
from llmstack.routers.cost_based import (
    CostBased as CostBased,
)
from llmstack.routers.fallback import (
    Fallback as Fallback,
)
from llmstack.routers.keys import (
    Keys as Keys,
)
from llmstack.routers.latency_based import (
    LatencyBased as LatencyBased,
)
from llmstack.routers.round_robin import (
    RoundRobin as RoundRobin,
)
from llmstack.routers.weighted_random import (
    WeightedRandom as WeightedRandom,
)
from llmstack.service import (
    Layer as Layer,
)
from llmstack.service import (
    Service as Service,
)
from llmstack.service import (
    by_endpoint as by_endpoint,
)
from llmstack.service import (
    by_model as by_model,
)
from llmstack.service import (
    by_tenant as by_tenant,
)
from llmstack.service import (
    observe as observe,
)

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
    "Constant",
    "ContentFiltered",
    "ContextLengthExceeded",
    "Cooldown",
    "CoolingBoard",
    "CoolingDown",
    "CostBased",
    "Cusum",
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
    "Health",
    "Hedge",
    "HttpGet",
    "Key",
    "Keys",
    "LLMStackError",
    "LatencyBased",
    "LatencyZScore",
    "Layer",
    "Log",
    "MemoryRecorder",
    "Metrics",
    "ModelNotFound",
    "NoEndpoint",
    "NotReady",
    "OneToken",
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
    "RetryBudget",
    "RetryRule",
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
    "TcpConnect",
    "Timeout",
    "Translate",
    "Translated",
    "Translator",
    "Transport",
    "Unhealthy",
    "Untranslatable",
    "UpstreamError",
    "UpstreamTimeout",
    "Usage",
    "WeightedRandom",
    "__version__",
    "by_endpoint",
    "by_model",
    "by_tenant",
    "credential",
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
    "with_keys",
]

__version__: str
