"""Classifies a provider's error by its status, codes and message, with one table for all dialects.

Servers of one dialect use different statuses. A wrong key is a 400 at xAI and Gemini, a prompt that is too long is a
413 at Groq and a 500 at llama.cpp, and a retired model is a 400 at Groq and a 404 at OpenAI. So codes and messages have
priority over the status. Sources: the vendors' error pages, the servers' source code, and public reports.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

# `key`: this key is rejected. `account`: its account has no credit. `place`: rejected because of the region, the
# account's permissions or a firewall, so that another key would not help. `setup`: a wrong path or method.
Meaning: TypeAlias = Literal[
    "rate", "context", "large", "refusal", "key", "account", "place", "model", "setup", "overloaded", "timeout",
    "request", "fault",
]  # fmt: skip

_RATE_CODES = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "rate_limit", "rate_limited", "throttling", "throttlingexception"}
)
# For a request above the limit per minute, Groq responds with 413 and OpenAI with 429.
_RATE = re.compile(
    r"(?:tokens|requests) per (?:second|min|minute|hour|day)|\b[tri]p[smhd]\b|rate[ _-]?limit|too many requests"
)

_CONTEXT_CODES = frozenset(
    {
        "context_length_exceeded",
        "context_window_exceeded",
        "context_window_exceeded_error",
        "exceed_context_size_error",
        "contextwindowexceedederror",
        "model_max_prompt_tokens_exceeded",
        "prompt_too_long",
        "input_too_long",
    }
)
_CONTEXT = re.compile(
    r"context[ _](?:window|length|size|limit)"
    r"|max(?:imum)?[ _](?:prompt|input|sequence|model)[ _](?:length|len|tokens)"
    r"|(?:prompt|input|messages?|conversation) (?:is |are |was )?(?:too (?:long|large)|longer than)"
    r"|too many (?:input |prompt |total )?tokens|request (?:is )?too large"
    r"|input (?:token count|tokens|length)\b.{0,60}(?:exceed|only supports)"
    r"|prompt token count.{0,40}exceed"
    r"|exceed(?:s|ed)? (?:the |this |model.?s? )*(?:maximum number of tokens|(?:model )?token limit|max(?:imum)? length"
    r"|max(?:imum)? message tokens)"
    r"|token limit (?:is |was )?exceeded"
    r"|reduce (?:the length of )?(?:your |the )?(?:messages|prompt|input)\b"
    r"|must have less than \d+ tokens|tokens \+ _ must be <="
    r"|range of input length should be|too large to process"
)

_REFUSAL_CODES = frozenset(
    {
        "content_filter",
        "content_filtered",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "data_inspection_failed",
        "datainspectionfailed",
        "invalid_prompt",
        "prohibited_content",
    }
)
_REFUSAL = re.compile(
    r"content management policy|content filtering policy|content[ _]policy[ _]violation|responsibleaipolicyviolation"
    r"|content_filter|violates (?:our |the )?(?:usage|content) (?:guidelines|polic)|violating our usage polic"
    r"|rejected (?:as a result of|by) (?:our |the )?safety system|content exists risk|input (?:was|is|has been) flagged"
    r"|requires moderation|blocked by content filters|may contain inappropriate content|inappropriate content detected"
)

_KEY_CODES = frozenset(
    {
        "invalid_api_key",
        "incorrect_api_key",
        "invalidapikey",
        "api_key_invalid",
        "authentication_error",
        "invalid_authentication_error",
        "authenticationerror",
        "unauthenticated",
        "permission_error",
    }
)
# Matched after quoted text is removed, because it may be the caller's.
_KEY = re.compile(
    r"(?:incorrect|invalid|expired|missing|wrong) (?:x-)?api[ -_]?key"
    r"|api[ -_]?key (?:not valid|not found|expired|is (?:invalid|incorrect|missing|not valid)|was reported as leaked)"
    r"|invalid (?:authentication|bearer token|token provided)|no api[ -_]?key|authentication fail"
)
_ACCOUNT_CODES = frozenset(
    {
        "insufficient_quota",
        "insufficient_balance",
        "insufficient_user_quota",
        "insufficient_credits",
        "exceeded_current_quota_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "payment_required",
        "budget_exceeded",
        "arrearage",
    }
)
_ACCOUNT = re.compile(
    r"credit balance is too low|insufficient[ _](?:balance|credits?|funds|quota)|billing_hard_limit_reached"
    r"|reached (?:your |its )?(?:specified )?(?:api usage|monthly spending|monthly spend|spending) limit"
    r"|used all available credits|requires more credits|account is in good standing|account is not active"
    r"|enable billing|payment required"
    r"|(?:account|organization|project)(?: \S+)? (?:has been|is|was) (?:disabled|suspended|deactivated|terminated)"
    r"|budget (?:has been|was|is) exceeded"
)
_PLACE_CODES = frozenset({"unsupported_country_region_territory"})
_PLACE = re.compile(
    r"(?:user )?location is not supported|country, region,? or territory not supported"
    r"|not available in your (?:country|region)|organization must be verified"
    r"|(?:country|region) (?:is )?not supported"
)

_MODEL_CODES = frozenset(
    {
        "model_not_found",
        "modelnotfound",
        "model_not_available",
        "model_not_exist",
        "model_decommissioned",
        "model_deprecated",
        "model_not_supported",
        "model_retired",
        "unsupported_model",
        "invalid_model",
        "deploymentnotfound",
    }
)
_MODEL = re.compile(
    r"\b(?:models?|deployment|endpoints?)\b(?:[^.;,]|\.(?! )){0,80}?(?:does not exist|doesn.t exist"
    r"|not exist\b|not found|decommissioned|deprecated|retired|no longer (?:available|supported)|is not available"
    r"|identifier is invalid|\bsunset\b|end[ -]of[ -](?:its[ -])?life|is not loaded"
    r"|(?:has been|was) (?:removed|shut down|disabled)|is not supported by any provider)"
    r"|(?:has been|was|is) (?:retired|decommissioned|sunset)\b"
    r"|(?:invalid|unknown|no such|unsupported) model\b(?! (?:parameter|output|response))|not a valid model"
    r"|(?<!with this )(?<!with the )(?<!for this )\bmodel(?: \S+)?"
    r" is (?:not supported|unsupported|not allowed)(?! (?:with|when|if|in|by|for|together)\b)"
    r"|llm provider not provided"
    r"|requested model is not supported|on-demand throughput isn.t supported"
    r"|unable to access (?:the )?model"
    r"|no endpoints found|not found, try pulling it|does not work with the specified model|no models? loaded"
)
# Objects besides a model that a 404 may report as missing: the caller named them.
_CALLERS_OBJECT = re.compile(
    r"\b(?:no such (?:file|container|assistant|thread)"
    r"|(?:file|cached ?content|previous response|container|image)\b.{0,60}(?:not found|does not exist))"
)

_OVERLOADED_CODES = frozenset(
    {
        "overloaded_error",
        "engine_overloaded",
        "engine_overloaded_error",
        "overloaded",
        "capacity_exceeded",
        "unavailable",
    }
)
_OVERLOADED = re.compile(
    r"\boverloaded\b|(?:at|over|out of|exceeded) capacity|capacity exceeded|(?:server|service|model) is (?:too )?busy"
    r"|loading model|model is (?:currently )?loading|no available model provider|temporarily unavailable"
)

_STATUSES: dict[int, Meaning] = {
    401: "key",
    402: "account",
    403: "key",
    404: "model",
    405: "setup",
    406: "setup",
    # 408: the provider timed out on the request. 409: a conflict with another request. SDKs retry both.
    408: "timeout",
    409: "overloaded",
    410: "model",
    413: "large",
    415: "setup",
    425: "overloaded",
    429: "rate",
    451: "place",
    # Groq: no capacity in the flex tier.
    498: "overloaded",
    503: "overloaded",
    504: "timeout",
    # Cloudflare, before the provider: 522 and 524 are its timeouts.
    522: "timeout",
    524: "timeout",
    529: "overloaded",
}
_REQUEST_STATUSES = frozenset({400, 411, 412, 414, 416, 417, 422, 431})


def meaning(status: int, codes: str, message: str, *, page: bool = False) -> Meaning:
    """Classifies an error. `status` is 0 for an error without a status, within a response.

    `codes` holds the provider's error codes, `message` its message, both in lower case. `page`: the body was HTML, so
    it comes from a proxy in front of the provider.
    """
    if page:
        return _page_meaning(status)
    code_words = frozenset(re.findall(r"[a-z0-9_]+", codes))
    specific = _account_meaning(status, code_words, message) or _request_meaning(status, code_words, message)
    if specific is not None:
        return specific
    if status in (0, 500, 502) and (code_words & _OVERLOADED_CODES or _OVERLOADED.search(message)):
        return "overloaded"
    if status in _STATUSES:
        return _STATUSES[status]
    return "request" if status in _REQUEST_STATUSES else "fault"


def _page_meaning(status: int) -> Meaning:
    by_status = _STATUSES.get(status, "fault")
    # A firewall or proxy wrote the page and does not check the key.
    return "place" if by_status == "key" else by_status


def _account_meaning(status: int, code_words: frozenset[str], message: str) -> Meaning | None:
    """The meaning, if the gateway's account or key is at fault."""
    if status in (404, 408, 409, 410, 503, 504, 529):
        return None
    if code_words & _ACCOUNT_CODES or _ACCOUNT.search(message):
        return "account"
    if status == 429:
        return "rate"
    if status in (0, 400, 403, 413, 422) and (code_words & _RATE_CODES or _RATE.search(message)):
        return "rate"
    if code_words & _PLACE_CODES or _PLACE.search(message):
        return "place"
    if status in (0, 400, 403, 422) and (code_words & _KEY_CODES or _KEY.search(message)):
        return None if code_words & _REFUSAL_CODES or _REFUSAL.search(message) else "key"
    return None


def _request_meaning(status: int, code_words: frozenset[str], message: str) -> Meaning | None:
    """The meaning, if the request or its model is at fault."""
    if status in (0, 400, 403, 413, 422, 451, 500) and (code_words & _REFUSAL_CODES or _REFUSAL.search(message)):
        return "refusal"
    if (status in (0, 400, 413, 422) or status >= 500) and (code_words & _CONTEXT_CODES or _CONTEXT.search(message)):
        return "context"
    if status == 404 and _CALLERS_OBJECT.search(message):
        return "request"
    if status in (0, 400, 403, 404, 410, 422) and (code_words & _MODEL_CODES or _MODEL.search(message)):
        return "model"
    if status in (0, 400) and "payload size exceeds" in message:
        return "large"
    return None
