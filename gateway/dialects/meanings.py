"""What a provider's error means, told from its status, its short codes and its words: one table for all dialects.

Hosts that speak one dialect do not agree on statuses. A key that is wrong is a 400 at xAI and Gemini, a prompt that is
too long a 413 at Groq and a 500 at llama.cpp, and a model that is retired a 400 at Groq and a 404 at OpenAI. So codes
and words come before the status. Their sources: the vendors' error pages, the servers' sources, and public reports.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

# `key`: this key is refused. `account`: its account has no credit. `place`: refused for where we are, for what the
# account may use, or by a firewall, so that another key would hear the same. `setup`: a wrong path or method.
Meaning: TypeAlias = Literal[
    "rate", "context", "large", "refusal", "key", "account", "place", "model", "setup", "overloaded", "timeout",
    "request", "fault",
]  # fmt: skip

_RATE_CODES = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "rate_limit", "rate_limited", "throttling", "throttlingexception"}
)
# Groq says 413, and OpenAI 429, for a request beyond the limit of a minute.
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
# With the words within quotes taken out, for these may be the caller's.
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
# What a 404 may say is missing besides a model: the caller has named it.
_OWN_THING = re.compile(
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
    # The provider waited for our request, or another request was in its way (SDKs send these again).
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
_REQUEST = frozenset({400, 411, 412, 414, 416, 417, 422, 431})


def meaning(status: int, codes: str, words: str, *, page: bool = False) -> Meaning:
    """What an error of `status` (0: it came within an answer, and nothing says one) means.

    `codes` is whatever short words the provider gave, `words` its message, both in lower case; `page`: the body was
    HTML, so it comes from something before the provider.
    """
    if page:
        return _of_page(status)
    short = frozenset(re.findall(r"[a-z0-9_]+", codes))
    found = _of_account(status, short, words) or _of_request(status, short, words)
    if found is not None:
        return found
    if status in (0, 500, 502) and (short & _OVERLOADED_CODES or _OVERLOADED.search(words)):
        return "overloaded"
    if status in _STATUSES:
        return _STATUSES[status]
    return "request" if status in _REQUEST else "fault"


def _of_page(status: int) -> Meaning:
    found = _STATUSES.get(status, "fault")
    # Whatever wrote the page does not know our key: a firewall or a proxy has refused the request.
    return "place" if found == "key" else found


def _of_account(status: int, short: frozenset[str], words: str) -> Meaning | None:
    """What is wrong with us, and not with the request."""
    if status in (404, 408, 409, 410, 503, 504, 529):
        return None
    if short & _ACCOUNT_CODES or _ACCOUNT.search(words):
        return "account"
    if status == 429:
        return "rate"
    if status in (0, 400, 403, 413, 422) and (short & _RATE_CODES or _RATE.search(words)):
        return "rate"
    if short & _PLACE_CODES or _PLACE.search(words):
        return "place"
    if status in (0, 400, 403, 422) and (short & _KEY_CODES or _KEY.search(words)):
        return None if short & _REFUSAL_CODES or _REFUSAL.search(words) else "key"
    return None


def _of_request(status: int, short: frozenset[str], words: str) -> Meaning | None:
    """What is wrong with the request, or with the model that it names."""
    if status in (0, 400, 403, 413, 422, 451, 500) and (short & _REFUSAL_CODES or _REFUSAL.search(words)):
        return "refusal"
    if (status in (0, 400, 413, 422) or status >= 500) and (short & _CONTEXT_CODES or _CONTEXT.search(words)):
        return "context"
    if status == 404 and _OWN_THING.search(words):
        return "request"
    if status in (0, 400, 403, 404, 410, 422) and (short & _MODEL_CODES or _MODEL.search(words)):
        return "model"
    if status in (0, 400) and "payload size exceeds" in words:
        return "large"
    return None
