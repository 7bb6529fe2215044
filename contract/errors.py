"""The error classes, each with its HTTP status and code.

GatehouseError
├── RequestError                  the caller can fix it
│   ├── InvalidRequest            400  `param` names the field
│   ├── UnsupportedFeature        400  the model or dialect does not support it
│   │   └── HeldByOtherProvider   400  continues a conversation that only another provider has
│   ├── Unauthenticated           401
│   ├── NotAllowed                403
│   │   └── PriceUnknown          403  there is a budget, and no target has a price
│   ├── UnknownModel              404  suggests the nearest allowed one
│   ├── ContentBlocked            400  a guardrail's decision; no retry helps
│   ├── TooManyRequests           429  more than the caller's limits allow
│   ├── BudgetSpent               429  no retry helps before the budget is raised or its period ends
│   ├── UnknownPath               404
│   ├── WrongMethod               405
│   ├── BodyTooLarge              413
│   ├── UnsupportedMedia          415
│   └── BodyTooSlow               408
├── UpstreamError                 one attempt failed; `kind` is the class that policies name
│   ├── ConnectFailed             connect
│   ├── TimedOut                  timeout          `phase`: connect, first_token, idle, total
│   ├── RateLimited               rate_limited
│   │   └── OwnLimitReached       rate_limited     the configured limit of the provider; it was not called
│   ├── Overloaded                overloaded
│   ├── ServerFault               server_error
│   ├── IncompleteReply           interrupted      the response stopped before its end
│   ├── MalformedReply            malformed        does not match the dialect
│   ├── EmptyAnswer               empty
│   ├── CredentialRefused         auth
│   ├── ContextWindowExceeded     context_window
│   │   └── RequestTooLarge       context_window   too many bytes, which a larger window does not help
│   ├── UpstreamNotFound          not_found
│   ├── ContentRefused            refusal          the provider's content policy
│   └── RequestRefused            bad_request      the provider rejects the request as invalid; never retried
├── AllTargetsFailed              combines the errors of all attempts
├── Unavailable                   503  draining, or a required part is down
└── InternalFault                 500
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.deltas import Delta

ErrorKind: TypeAlias = Literal[
    "connect", "timeout", "rate_limited", "overloaded", "server_error", "interrupted", "malformed", "empty", "auth",
    "context_window", "not_found", "refusal", "bad_request",
]  # fmt: skip
TimeoutPhase: TypeAlias = Literal["connect", "first_token", "idle", "total"]


class GatehouseError(Exception):
    """Any error that ends a request.

    `message` is for the caller and contains no secret and no content of other callers. `retry_after_s` is sent as
    `retry-after`; `should_retry=False` as `x-should-retry: false`, which stops the SDKs' own retries.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    # Extra headers of the error response, with lower-case names.
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, message: str, *, param: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def http_status(self) -> int:
        """The HTTP status of the error response."""
        return self.status

    @property
    def should_retry(self) -> bool | None:
        """None leaves the decision to the caller's SDK."""
        return None


class RequestError(GatehouseError):
    """An error that the caller can fix."""

    status = 400
    code = "invalid_request"

    @property
    def should_retry(self) -> bool | None:
        """Retries only help with 408 and 429. Without the header Claude Code retries a 401 for minutes."""
        return None if self.status in (408, 429) else False


class InvalidRequest(RequestError):
    """A field is missing, of the wrong type or out of range; `param` names it (`messages[0].role`)."""


class UnsupportedFeature(RequestError):
    """This model or dialect does not support a feature of the request, and the policy is to refuse."""

    code = "unsupported_parameter"


class HeldByOtherProvider(UnsupportedFeature):
    """The request continues a conversation whose beginning another provider has; `param` names the field."""


class ContentBlocked(RequestError):
    """A guardrail blocks the request or its response. The message names the guardrail, never the text."""

    code = "content_policy_violation"


class Unauthenticated(RequestError):
    """The key is missing or unknown."""

    status = 401
    code = "invalid_api_key"


class NotAllowed(RequestError):
    """A known caller requests something that it may not use."""

    status = 403
    code = "permission_denied"


NO_PRICE = "its price is unknown, and there is a budget"
"""Why a target is skipped."""


class PriceUnknown(NotAllowed):
    """There is a budget, and none of the targets has a price. The message says how to give them one."""

    code = "price_unknown"

    def __init__(self, targets: Sequence[str], tier: str = "") -> None:
        """`tier` is the service tier in which they have no price; empty for the standard tier."""
        first = targets[0]
        where = f" in the service tier {tier}" if tier else ""
        price = "{input: 2.50, output: 10.00}"
        cure = (
            f"under prices, in service_tiers: {{{tier}: {price}}}"
            if tier
            else f"as prices: {{{first}: {price}}} in US dollars per million tokens, or with prices_as or free"
        )
        super().__init__(
            f"The price of {', '.join(targets)}{where} is unknown, and a budget applies. The operator of this gateway "
            f"can set it {cure}, or set unknown_price: allow in the budget"
        )


class TooManyRequests(RequestError):
    """The caller's own limits are reached."""

    status = 429
    code = "rate_limit_exceeded"


class BudgetSpent(RequestError):
    """A budget has no room for the request."""

    status = 429
    code = "budget_exceeded"

    @property
    def should_retry(self) -> bool | None:
        """False: a retry would be refused again."""
        return False


class UnknownModel(RequestError):
    """The model does not exist, or the caller may not use it."""

    status = 404
    code = "model_not_found"


class UnknownPath(RequestError):
    """The endpoint does not exist."""

    status = 404
    code = "not_found"


class WrongMethod(RequestError):
    """The endpoint does not support this method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        """`allow`: the supported methods, separated by commas."""
        super().__init__(message)
        self.headers = (("allow", allow),)


class BodyTooLarge(RequestError):
    """The body is larger than `server.max_body`."""

    status = 413
    code = "request_too_large"


class UnsupportedMedia(RequestError):
    """The encoding or content type of the body is not supported."""

    status = 415
    code = "unsupported_media_type"

    def __init__(self, message: str, *, param: str = "", accept_encoding: str = "") -> None:
        """`accept_encoding`: the supported encodings, if the encoding is the problem."""
        super().__init__(message, param=param)
        if accept_encoding:
            self.headers = (("accept-encoding", accept_encoding),)


class BodyTooSlow(RequestError):
    """The body arrives too slowly, or not at all."""

    status = 408
    code = "request_timeout"


class UpstreamError(GatehouseError):
    """One attempt at a target failed. `upstream_status` is the provider's HTTP status (0: no response).

    `another_key` means that the provider has another key to try at once, `may_be_repeated` that the same request may
    succeed later. `before` has the deltas before the error: they are not forwarded, but were generated.
    """

    status = 502
    code = "upstream_error"
    kind: ClassVar[ErrorKind] = "server_error"

    def __init__(
        self, message: str, *, param: str = "", retry_after_s: float | None = None, upstream_status: int = 0
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.upstream_status = upstream_status
        self.another_key = False
        self.may_be_repeated = True
        self.before: Sequence[Delta] = ()


class ConnectFailed(UpstreamError):
    """The connection failed, or closed before the first byte of the response."""

    code = "upstream_unreachable"
    kind = "connect"


class TimedOut(UpstreamError):
    """A timeout in `phase`. `limit_s` is its length, 0 if the provider reported the timeout.

    `alive`: the provider sent keep-alives meanwhile, without content. `where` is the key of the limit in the YAML.
    """

    status = 504
    code = "upstream_timeout"
    kind = "timeout"

    def __init__(self, message: str, *, phase: TimeoutPhase) -> None:
        super().__init__(message)
        self.phase = phase
        self.limit_s = 0.0
        self.alive = False
        self.where = ""


class RateLimited(UpstreamError):
    """The provider's 429."""

    status = 429
    code = "rate_limit_exceeded"
    kind = "rate_limited"


class OwnLimitReached(RateLimited):
    """The configured limit of a provider is reached: it was not called, and its health is unaffected."""


class Overloaded(UpstreamError):
    """The provider reports overload (503, 529), or is busy with another request of the gateway (409, 425)."""

    status = 503
    code = "upstream_overloaded"
    kind = "overloaded"


class ServerFault(UpstreamError):
    """The provider's 5xx, or an error event in its stream."""

    code = "upstream_error"
    kind = "server_error"


class IncompleteReply(UpstreamError):
    """The response stopped without the dialect's end marker."""

    code = "upstream_interrupted"
    kind = "interrupted"


class MalformedReply(UpstreamError):
    """The response does not match its dialect."""

    code = "upstream_malformed"
    kind = "malformed"


class EmptyAnswer(UpstreamError):
    """A valid response without content."""

    code = "upstream_empty"
    kind = "empty"


class CredentialRefused(UpstreamError):
    """The provider refuses the gateway's key, account or region. The caller's key is fine, so this is never a 401.

    `key_at_fault` is False if another key would be refused too.
    """

    code = "upstream_credentials"
    kind = "auth"
    key_at_fault = True


class ContextWindowExceeded(UpstreamError):
    """The prompt is longer than the model's context window."""

    status = 400
    code = "context_length_exceeded"
    kind = "context_window"


class RequestTooLarge(ContextWindowExceeded):
    """The request has more bytes than the provider, or a proxy in front of it, accepts (413)."""

    status = 413
    code = "request_too_large"


class UpstreamNotFound(UpstreamError):
    """The provider does not have the model or the path: an error in the gateway's configuration."""

    code = "upstream_not_found"
    kind = "not_found"


class ContentRefused(UpstreamError):
    """The provider's content policy declined the request."""

    status = 400
    code = "content_policy_violation"
    kind = "refusal"


class RequestRefused(UpstreamError):
    """The provider rejects the request as invalid; a retry would fail too.

    `details` are the provider's error details, for callers of its dialect.
    """

    status = 400
    code = "invalid_request"
    kind = "bad_request"
    details: Mapping[str, Any] | None = None


class AllTargetsFailed(GatehouseError):
    """Every target failed or was skipped because of its open breaker. `last` is the error whose status is returned."""

    code = "all_targets_failed"

    def __init__(self, message: str, *, last: GatehouseError, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.last = last

    @property
    def http_status(self) -> int:
        """The status of `last`: what the caller would get without a gateway, except for the gateway's credentials."""
        return self.last.http_status


class Unavailable(GatehouseError):
    """The gateway can't serve now: it is draining, or a required part is down."""

    status = 503
    code = "unavailable"


class InternalFault(GatehouseError):
    """A bug in the gateway. The message never contains the exception's text."""
