"""What a reply means, as one line of a table: the class, what it puts aside, and which waits count.

Here are the lines that all formats share: statuses, those of edges among them, and the codes
of the clouds through which models of either format are sold. The tables of the formats stand
beside their classifiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, final

from attrs import Factory, field, frozen

from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CallerFault,
    ConnectionFailed,
    ConnectionLost,
    Cool,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.redact import identifier, path, request_id
from llmstack.providers.said import Said


__all__ = ["ACCOUNT", "CODES", "ELSEWHERE", "LONG", "STATUSES", "Phase", "Verdict", "by_status"]

#: Where the error stood: under an HTTP status of its own, in the body of a 200, in an event.
Phase = Literal["status", "body", "event"]

#: Seconds. A limit of a minute passes; one that lasts longer than this is a spent plan.
LONG: Final = 900.0


@final
@frozen
class Verdict:
    """An error of *kind*, which puts aside what the class says or *cools* instead, None nothing.

    It is *again* False where the same request can never pass there, though the class allows
    to ask again. A wait counts only if it is longer than *beyond* seconds.
    """

    kind: type[UpstreamError]
    cools: Cool | None = field(default=Factory(lambda self: self.kind.cools, takes_self=True))
    again: bool = True
    beyond: float = -1.0

    def error(
        self,
        status: int,
        headers: Mapping[str, str],
        said: Said,
        wait: float | None,
        place: object,
    ) -> UpstreamError:
        """Return the error, with the facts that may be repeated.

        The provider's words are not among them. *place* is what is wrong in the request.
        """
        error = self.kind()
        if isinstance(error, CallerFault):
            where = path(place)
            if where is not None:
                error.args = (f"{error.message} (param {where})",)
        elif wait is not None and wait > self.beyond:
            error.retry_after = wait
        error.status = status
        error.code = identifier(said.code)
        error.request_id = request_id(headers)
        if self.cools != error.cools:
            error.cools = self.cools
        # Only downwards: what the class calls final stays final.
        stop = headers.get("x-should-retry", "").strip().lower() == "false"
        if stop or not self.again:
            error.again = False
        return error


#: Wherever it is asked with whichever key: the country, the network, the edge.
ELSEWHERE: Final = Verdict(PermissionDenied, Cool("endpoint", 600.0))
#: The account as a whole is closed, on hold, or not what the provider wants.
ACCOUNT: Final = Verdict(PermissionDenied, Cool("account", 3600.0))

STATUSES: Final[Mapping[int, Verdict]] = {
    401: Verdict(AuthFailed),
    402: Verdict(QuotaExhausted),
    403: Verdict(PermissionDenied),
    404: Verdict(ModelNotFound),
    408: Verdict(UpstreamTimeout),
    413: Verdict(PayloadTooLarge),
    424: Verdict(ServerError),  # Groq: a dependency of theirs failed. Bedrock: the model did
    429: Verdict(RateLimited),
    451: ELSEWHERE,
    498: Verdict(Overloaded),  # Groq: the flex tier is full
    503: Verdict(Overloaded),
    # Of the edge. After 520 and 524 the origin had the request.
    **dict.fromkeys((520, 524), Verdict(ConnectionLost)),
    **dict.fromkeys((521, 522, 523, 530), Verdict(ConnectionFailed)),
    # The handshake with the origin, and its certificate: that one does not mend itself.
    525: Verdict(ConnectionFailed, Cool("endpoint", 60.0)),
    526: Verdict(ConnectionFailed, Cool("endpoint", 600.0)),
    529: Verdict(Overloaded),
}

#: What Amazon and Google say, whatever the status.
CODES: Final[Mapping[str, Verdict]] = {
    "servicequotaexceededexception": Verdict(QuotaExhausted),
    "accessdeniedexception": Verdict(PermissionDenied),
    **dict.fromkeys(
        (
            *("unrecognizedclientexception", "expiredtokenexception"),
            *("invalidsignatureexception", "incompletesignatureexception"),
            *("missingauthenticationtokenexception", "invalidclienttokenid"),
        ),
        Verdict(AuthFailed),
    ),
    "resourcenotfoundexception": Verdict(ModelNotFound),
    "throttlingexception": Verdict(RateLimited),
    "modelnotreadyexception": Verdict(Overloaded),
    "modeltimeoutexception": Verdict(UpstreamTimeout),
    **dict.fromkeys(
        ("modelerrorexception", "modelstreamerrorexception", "internalserverexception"),
        Verdict(ServerError),
    ),
    "serviceunavailableexception": Verdict(Overloaded),
    # Google's reasons, and the statuses that say more than their number.
    "api_key_invalid": Verdict(AuthFailed),
    **dict.fromkeys(
        (
            *("api_key_service_blocked", "api_key_ip_address_blocked"),
            "api_key_http_referrer_blocked",
        ),
        Verdict(PermissionDenied, Cool("key", 600.0)),
    ),
    "failed_precondition": ELSEWHERE,
    **dict.fromkeys(("service_disabled", "consumer_suspended"), ACCOUNT),
    "billing_disabled": Verdict(QuotaExhausted),
    "model_capacity_exhausted": Verdict(Overloaded),
    "deadline_exceeded": Verdict(UpstreamTimeout),
}


def by_status(status: int) -> Verdict:
    """Return what a status alone means."""
    if not 400 <= status <= 599:
        return Verdict(ProtocolError)
    return STATUSES.get(status) or Verdict(BadRequest if status < 500 else ServerError)
