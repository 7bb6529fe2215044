"""Paths that are almost ours: which one is meant, and what is said of those that vendors have and Gatehouse has not.

Only paths that ask a model are served under other spellings. What stands in front of the gateway may guard the rest by
its path (`/admin`, `/v1/sources`, `/metrics`), so those have exactly one.
"""

from __future__ import annotations

import difflib
import re

_VERSIONS = ("v1", "v1beta", "v1alpha")
_VERSION = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]*)?\Z")
_VENDORS = ("openai", "anthropic", "gemini")
# What follows the version, and whose API it is; empty for all three.
_TAILS = {
    "chat/completions": "openai",
    "embeddings": "openai",
    "messages": "anthropic",
    "messages/count_tokens": "anthropic",
    "models": "",
}
_VERBS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
_INSTEAD = {"openai": "POST /v1/chat/completions", "anthropic": "POST /v1/messages"}
# Of the vendors' references: what their SDKs call and nothing here answers. A path, or all below it with a slash.
_UNSERVED = {
    "openai": (
        "assistants audio batches chatkit completions containers conversations evals files fine_tuning images "
        "moderations organization realtime rerank responses threads uploads vector_stores videos"
    ),
    "anthropic": "complete environments messages/batches organizations sessions skills",
    "gemini": "batches cachedContents corpora fileSearchStores files interactions operations tunedModels",
}
_NEVER_SERVED = [(tail, vendor) for vendor, tails in _UNSERVED.items() for tail in tails.split()]
_SPELLED = {
    **{tail: f"{'GET' if tail == 'models' else 'POST'} /v1/{tail}" for tail in _TAILS},
    "chat": "POST /v1/chat/completions",
    "health": "GET /health",
    "livez": "GET /livez",
    "readyz": "GET /readyz",
    "healthz": "GET /readyz",
    "metrics": "GET /metrics",
    "sources": "/v1/sources/NAME/documents",
    "cache": "DELETE /v1/cache",
}


def served_as(path: str) -> str | None:
    """The path of ours that `path` can only mean: slashes too many, a version twice or left out; None if there is none.

    The result has one spelling, so that keys, limits and rules see no other.
    """
    parts = [part for part in path.split("/") if part]
    if not parts or "." in parts or ".." in parts:
        return None
    versions, parts = _without_versions(parts)
    vendor = ""
    if parts and parts[0] in _VENDORS:
        # As a prefix of ours, or of Google for those who speak OpenAI's dialect (/v1beta/openai/...).
        vendor, parts = parts[0], parts[1:]
        later, parts = _without_versions(parts)
        # Theirs is a version of Gemini's API, and says nothing of OpenAI's.
        versions = later or ([] if vendor == "openai" else versions)
    if len(set(versions)) > 1 and "v1" not in versions:
        return None
    # A base URL with /v1 before a client that adds its own version: the client knows.
    version = versions[-1] if versions else ""
    if not parts or len(parts) > 200:
        return None
    prefix = f"/{vendor}" if vendor else ""
    tail = "/".join(parts)
    if parts[0] == "models":
        return _model_path(prefix, vendor, version, path.partition("models")[2].strip("/"))
    if vendor == "openai" and parts[0] == "deployments" and not versions:
        return f"{prefix}/{tail}"
    whose = _TAILS.get(tail)
    if whose is None or version not in ("", "v1") or vendor not in ("", whose):
        return None
    return f"{prefix}/v1/{tail}"


def _without_versions(parts: list[str]) -> tuple[list[str], list[str]]:
    count = 0
    while count < len(parts) and parts[count] in _VERSIONS:
        count += 1
    return parts[:count], parts[count:]


def _model_path(prefix: str, vendor: str, version: str, name: str) -> str | None:
    """Of a list of models, of one, or of a call that Gemini's API makes on one. A name may have slashes of its own."""
    if name.rpartition(":")[2] in _VERBS:
        return f"{prefix}/{version or 'v1beta'}/models/{name}" if vendor in ("", "gemini") else None
    version = version or ("v1beta" if vendor == "gemini" else "v1")
    return f"{prefix}/{version}/models" + (f"/{name}" if name else "")


def explain(path: str) -> tuple[str, str]:
    """What to say of a path that leads nowhere, and whose API it belongs to; both empty for one that means nothing."""
    parts = [part for part in path.split("/") if part][:40]
    prefixes = []
    while parts and (parts[0].lower() in (*_VENDORS, "api", "upload") or _VERSION.match(parts[0].lower())):
        prefixes.append(parts.pop(0).lower())
    if parts[:1] == ["deployments"]:
        parts = parts[2:]
    named = next((each for each in prefixes if each in _VENDORS), "")
    shown = path[:200]
    tail = "/".join(parts)
    lower = tail.lower()
    if parts and parts[0].lower() == "models" and ":" in parts[-1] and named not in ("openai", "anthropic"):
        return _explain_verb(shown, parts[-1].rpartition(":")[2]), "gemini"
    for unserved, vendor in _never_served(named or ("gemini" if prefixes[-1:] == ["v1beta"] else "")):
        if lower == unserved.lower() or lower.startswith(unserved.lower() + "/"):
            instead = _INSTEAD.get(vendor, "POST /v1beta/models/MODEL:generateContent")
            return f"{shown} is an endpoint of the vendor's that is not served here; chats go to {instead}", vendor
    close = _closest(lower)
    if not close:
        return "", named
    spelled = _SPELLED[close]
    vendor = named or _TAILS.get(close, "openai")
    return f"There is no endpoint at {shown}; did you mean {spelled}?", vendor


def _never_served(vendor: str) -> list[tuple[str, str]]:
    """Those of `vendor` first."""
    return sorted(_NEVER_SERVED, key=lambda each: each[1] != vendor) if vendor else _NEVER_SERVED


def _closest(tail: str) -> str:
    """The nearest of our paths, or the one that the end of a longer one spells; empty for none."""
    if not tail or len(tail) > 200:
        return ""
    for known in sorted(_SPELLED, key=len, reverse=True):
        if tail == known or (tail.endswith("/" + known) and ("/" in known or tail.startswith(known + "/"))):
            return known
    return next(iter(difflib.get_close_matches(tail, _SPELLED, n=1, cutoff=0.75)), "")


def _explain_verb(shown: str, verb: str) -> str:
    close = difflib.get_close_matches(verb.lower(), [each.lower() for each in _VERBS], n=1, cutoff=0.9)
    right = next((each for each in _VERBS if close and each.lower() == close[0]), "")
    if right:
        return f"There is no endpoint at {shown}; did you mean POST /v1beta/models/MODEL:{right}?"
    return f"The method ':{verb[:60]}' of Gemini's API is not served here; served are {', '.join(_VERBS)}"
