"""What can go wrong, as classes that know their status and code; nobody consults numbers.

GatehouseError
├── RequestError                  the caller's to mend
│   ├── InvalidRequest            400  `param` names the field
│   ├── UnsupportedFeature        400  asked of a model that can't
│   │   └── HeldByOtherProvider   400  continues what only another provider holds
│   ├── Unauthenticated           401
│   ├── NotAllowed                403
│   │   └── PriceUnknown          403  a budget, and no target with a price
│   ├── UnknownModel              404  names the nearest allowed one
│   ├── ContentBlocked            400  a guardrail's decision; no retry helps
│   ├── TooManyRequests           429  more than the caller's limits allow
│   ├── BudgetSpent               429  no retry helps before somebody raises it or its period ends
│   ├── UnknownPath               404
│   ├── WrongMethod               405
│   ├── BodyTooLarge              413
│   ├── UnsupportedMedia          415
│   └── BodyTooSlow               408
├── UpstreamError                 one attempt failed; `kind` is the class that policies name
│   ├── ConnectFailed             connect
│   ├── TimedOut                  timeout          `phase`: connect, first_token, idle, total
│   ├── RateLimited               rate_limited
│   │   └── OwnLimitReached       rate_limited     our own limit for the provider; it was not asked
│   ├── Overloaded                overloaded
│   ├── ServerFault               server_error
│   ├── IncompleteReply           interrupted      the answer stopped before its end
│   ├── MalformedReply            malformed        not the dialect it should be
│   ├── EmptyAnswer               empty
│   ├── CredentialRefused         auth
│   ├── ContextWindowExceeded     context_window
│   │   └── RequestTooLarge       context_window   too many bytes, which a larger window does not help
│   ├── UpstreamNotFound          not_found
│   ├── ContentRefused            refusal          the provider's content policy
│   └── RequestRefused            bad_request      the provider says the request is wrong; never retried
├── AllTargetsFailed              carries every attempt's error
├── Unavailable                   503  draining, or a part that is needed is down
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
    """Anything that ends a request otherwise than with an answer.

    `message` is for the caller and holds no secret and no content of other people's. `retry_after_s` goes out as
    `retry-after`; `should_retry=False` as `x-should-retry: false`, which stops the SDKs' own retries.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    # Headers that the answer has besides, by lower-case name.
    told: tuple[tuple[str, str], ...] = ()

    def __init__(self, message: str, *, param: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def http_status(self) -> int:
        """The status that the caller sees."""
        return self.status

    @property
    def should_retry(self) -> bool | None:
        """None leaves the decision to the caller's SDK."""
        return None


class RequestError(GatehouseError):
    """The caller can mend it."""

    status = 400
    code = "invalid_request"

    @property
    def should_retry(self) -> bool | None:
        """Only time mends 408 and 429. Claude Code retries a 401 for minutes unless it is told that this is no use."""
        return None if self.status in (408, 429) else False


class InvalidRequest(RequestError):
    """A field is missing, of the wrong type or out of range; `param` names it (`messages[0].role`)."""


class UnsupportedFeature(RequestError):
    """The request asks for what this model or dialect can't do, and the policy is to refuse."""

    code = "unsupported_parameter"


class HeldByOtherProvider(UnsupportedFeature):
    """The request continues a conversation of which another provider holds the rest; `param` names the field."""


class ContentBlocked(RequestError):
    """A guardrail does not let the request, or its answer, pass. The message names the guardrail, never the text."""

    code = "content_policy_violation"


class Unauthenticated(RequestError):
    """No key, or one that we don't know."""

    status = 401
    code = "invalid_api_key"


class NotAllowed(RequestError):
    """A known caller asks for what it may not have."""

    status = 403
    code = "permission_denied"


NO_PRICE = "its price is not known, and there is a budget"
"""Why a target is passed over."""


class PriceUnknown(NotAllowed):
    """There is a budget, and none of the targets has a price. The message says how to give them one."""

    code = "price_unknown"

    def __init__(self, targets: Sequence[str], tier: str = "") -> None:
        """`tier` is the service tier in which they have none; empty for the usual one."""
        first = targets[0]
        where = f" in the service tier {tier}" if tier else ""
        price = "{input: 2.50, output: 10.00}"
        cure = (
            f"under prices, in service_tiers: {{{tier}: {price}}}"
            if tier
            else f"as prices: {{{first}: {price}}} in US dollars for a million tokens, or with prices_as or free there"
        )
        super().__init__(
            f"The price of {', '.join(targets)}{where} is not known, and there is a budget: whoever runs this gateway "
            f"can give it {cure}; or set unknown_price: allow of the budget"
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
        """It would be refused again."""
        return False


class UnknownModel(RequestError):
    """No such model for this caller."""

    status = 404
    code = "model_not_found"


class UnknownPath(RequestError):
    """No such endpoint."""

    status = 404
    code = "not_found"


class WrongMethod(RequestError):
    """The endpoint exists under another method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        """`allow`: the methods that it takes, with commas between them."""
        super().__init__(message)
        self.told = (("allow", allow),)


class BodyTooLarge(RequestError):
    """The body is larger than `server.max_body`."""

    status = 413
    code = "request_too_large"


class UnsupportedMedia(RequestError):
    """The body is packed or written in a way that is not read here."""

    status = 415
    code = "unsupported_media_type"

    def __init__(self, message: str, *, param: str = "", accept_encoding: str = "") -> None:
        """`accept_encoding`: the codings that are taken, where the coding was wrong."""
        super().__init__(message, param=param)
        if accept_encoding:
            self.told = (("accept-encoding", accept_encoding),)


class BodyTooSlow(RequestError):
    """The body does not come, or comes at a crawl."""

    status = 408
    code = "request_timeout"


class UpstreamError(GatehouseError):
    """One attempt at a target failed. `upstream_status` is the provider's HTTP status (0: none came).

    `another_key` says that the provider has a further key to try at once, `may_be_repeated` that the same request may
    be taken later. `before` is what came with the error, ahead
    of it: nobody reads it any more, but it was generated.
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
    """No connection, or one closed before a byte of the answer."""

    code = "upstream_unreachable"
    kind = "connect"


class TimedOut(UpstreamError):
    """A timeout fired; `phase` says which. `limit_s` is its length, 0 where the provider said that it timed out.

    `alive`: the provider showed signs of life meanwhile, without content. `where` is the limit's place in the YAML.
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
    """The limit that we keep for a provider is reached: it was not asked, and its health says nothing."""


class Overloaded(UpstreamError):
    """The provider says it is overloaded (503, 529), or busy with another request of ours (409, 425)."""

    status = 503
    code = "upstream_overloaded"
    kind = "overloaded"


class ServerFault(UpstreamError):
    """The provider's 5xx, or an error event in its stream."""

    code = "upstream_error"
    kind = "server_error"


class IncompleteReply(UpstreamError):
    """The answer stopped without the dialect's own end."""

    code = "upstream_interrupted"
    kind = "interrupted"


class MalformedReply(UpstreamError):
    """The answer is not what its dialect says."""

    code = "upstream_malformed"
    kind = "malformed"


class EmptyAnswer(UpstreamError):
    """A well-formed answer with nothing in it."""

    code = "upstream_empty"
    kind = "empty"


class CredentialRefused(UpstreamError):
    """The provider refuses us: our key, our account without credit, our region. The caller's key is fine: never a 401.

    `key_at_fault` is False where another key would hear the same.
    """

    code = "upstream_credentials"
    kind = "auth"
    key_at_fault = True


class ContextWindowExceeded(UpstreamError):
    """The prompt is longer than the model takes."""

    status = 400
    code = "context_length_exceeded"
    kind = "context_window"


class RequestTooLarge(ContextWindowExceeded):
    """The request has more bytes than the provider, or a proxy before it, takes (413)."""

    status = 413
    code = "request_too_large"


class UpstreamNotFound(UpstreamError):
    """The provider does not know the model or the path: a mistake in our configuration."""

    code = "upstream_not_found"
    kind = "not_found"


class ContentRefused(UpstreamError):
    """The provider's content policy declined the request."""

    status = 400
    code = "content_policy_violation"
    kind = "refusal"


class RequestRefused(UpstreamError):
    """The provider says that the request is wrong; another attempt would hear the same.

    `details` are the provider's own, for callers of its dialect.
    """

    status = 400
    code = "invalid_request"
    kind = "bad_request"
    details: Mapping[str, Any] | None = None


class AllTargetsFailed(GatehouseError):
    """Every target was tried, or skipped for its open breaker. `last` is the error whose status speaks for all."""

    code = "all_targets_failed"

    def __init__(self, message: str, *, last: GatehouseError, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.last = last

    @property
    def http_status(self) -> int:
        """The last error's status: what a caller would have seen without a gateway, but for our own credentials."""
        return self.last.http_status


class Unavailable(GatehouseError):
    """We can't serve now: draining, or a needed part is down."""

    status = 503
    code = "unavailable"


class InternalFault(GatehouseError):
    """A mistake of ours. The message never holds the exception's text."""
