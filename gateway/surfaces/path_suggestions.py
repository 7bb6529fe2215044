"""Paths that resemble served ones: the canonical path, or an error that suggests one or names an unserved endpoint.

Only paths that call a model are served under other spellings. A proxy in front of the gateway may protect the others by
path (`/admin`, `/v1/sources`, `/metrics`), so each of those has exactly one spelling.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from gateway.surfaces.surface import FixedPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.surfaces.surface import Route, Surface, Vendor, Vendors

_VERSION = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]*)?\Z")
_MODELS = "models"
# The endpoint to suggest for each operations path.
_OPERATIONS = {
    "health": "GET /health",
    "livez": "GET /livez",
    "readyz": "GET /readyz",
    "healthz": "GET /readyz",
    "metrics": "GET /metrics",
}


class PathSuggestions:
    """Suggests served paths for misspelled ones."""

    def __init__(self, vendors: Vendors, surfaces: Iterable[tuple[Surface, Sequence[Route]]]) -> None:
        self._vendors = vendors.by_name
        self._first = vendors.first.name
        self._versions = frozenset({"v1", *vendors.by_version})
        self._rooted = frozenset(each for vendor in vendors for each in vendor.unversioned)
        self._verbs = {verb: vendor for vendor in vendors for verb in vendor.verbs}
        # Maps the path after the version to its vendor's name; an empty name means all vendors.
        self._tails = {_MODELS: ""}
        self._suggestions: dict[str, str] = {}
        for surface, routes in surfaces:
            for route in routes:
                if surface.vendor is not None and isinstance(route, FixedPath) and route.path.startswith("/v1/"):
                    tail = route.path.removeprefix("/v1/")
                    self._tails[tail] = surface.vendor.name
                    self._suggestions[tail] = f"{route.method} {route.path}"
            self._suggestions |= surface.similar_paths
        self._suggestions |= _OPERATIONS
        self._never_served = [
            (tail, vendor.name)
            for vendor in vendors
            for tail in vendor.unserved_paths.split()
            if self._tails.get(tail) != vendor.name
        ]

    def canonical_path(self, path: str) -> str | None:
        """The only served path that `path` can mean; None if there is none.

        Handles extra slashes and a duplicate or missing version. Keys, limits and rules see the result only.
        """
        parts = [part for part in path.split("/") if part]
        if not parts or "." in parts or ".." in parts:
            return None
        versions, parts = self._without_versions(parts)
        vendor: Vendor | None = None
        if parts and parts[0] in self._vendors:
            # The gateway's own prefix, or Google's for OpenAI's dialect (/v1beta/openai/...).
            vendor, parts = self._vendors[parts[0]], parts[1:]
            later, parts = self._without_versions(parts)
            # A version before the prefix belongs to the host's own API, not to this vendor's.
            versions = later or ([] if vendor.has_other_hosts else versions)
        if len(set(versions)) > 1 and "v1" not in versions:
            return None
        # A base URL that ends in /v1, with a client that adds its own version: the client's version wins.
        version = versions[-1] if versions else ""
        if not parts or len(parts) > 200:
            return None
        prefix = f"/{vendor.name}" if vendor is not None else ""
        tail = "/".join(parts)
        if parts[0] == _MODELS:
            return self._model_path(prefix, vendor, version, path.partition(_MODELS)[2].strip("/"))
        if vendor is not None and parts[0] in vendor.unversioned and not versions:
            return f"{prefix}/{tail}"
        owner_name = self._tails.get(tail)
        if owner_name is None or version not in ("", "v1") or (vendor is not None and vendor.name != owner_name):
            return None
        return f"{prefix}/v1/{tail}"

    def _without_versions(self, parts: list[str]) -> tuple[list[str], list[str]]:
        count = 0
        while count < len(parts) and parts[count] in self._versions:
            count += 1
        return parts[:count], parts[count:]

    def _model_path(self, prefix: str, vendor: Vendor | None, version: str, name: str) -> str | None:
        """The path of the model list, of one model, or of a verb on a model. A model's name may contain slashes."""
        owner = self._verbs.get(name.rpartition(":")[2])
        if owner is not None:
            return f"{prefix}/{version or owner.version}/models/{name}" if vendor in (None, owner) else None
        version = version or (vendor.version if vendor is not None else "v1")
        return f"{prefix}/{version}/models" + (f"/{name}" if name else "")

    def explain(self, path: str) -> tuple[str, str]:
        """The error message for an unknown path and its vendor's name; both empty if nothing resembles the path."""
        parts = [part for part in path.split("/") if part][:40]
        prefixes = []
        while parts and (parts[0].lower() in (*self._vendors, "api", "upload") or _VERSION.match(parts[0].lower())):
            prefixes.append(parts.pop(0).lower())
        if parts and parts[0] in self._rooted:
            parts = parts[2:]
        named = next((each for each in prefixes if each in self._vendors), "")
        shown = path[:200]
        tail = "/".join(parts)
        lower = tail.lower()
        calls = next((each for each in self._vendors.values() if each.verbs and named in ("", each.name)), None)
        if calls is not None and parts and parts[0].lower() == _MODELS and ":" in parts[-1]:
            return _explain_verb(shown, parts[-1].rpartition(":")[2], calls), calls.name
        versions = {each.version: each.name for each in self._vendors.values() if each.versions}
        for unserved, vendor in self._unserved_by(named or versions.get(prefixes[-1] if prefixes else "", "")):
            if lower == unserved.lower() or lower.startswith(unserved.lower() + "/"):
                instead = self._vendors[vendor].chat_endpoint
                return f"The gateway does not serve the vendor endpoint {shown}; for chat use {instead}", vendor
        close = self._closest(lower)
        if not close:
            return "", named
        suggestion = self._suggestions[close]
        vendor = named or self._tails.get(close, self._first)
        return f"There is no endpoint at {shown}; did you mean {suggestion}?", vendor

    def _unserved_by(self, vendor: str) -> list[tuple[str, str]]:
        """All unserved paths, those of `vendor` first."""
        return sorted(self._never_served, key=lambda each: each[1] != vendor) if vendor else self._never_served

    def _closest(self, tail: str) -> str:
        """The most similar served path, or the one that `tail` ends with; empty for none."""
        if not tail or len(tail) > 200:
            return ""
        for known in sorted(self._suggestions, key=len, reverse=True):
            if tail == known or (tail.endswith("/" + known) and ("/" in known or tail.startswith(known + "/"))):
                return known
        return next(iter(difflib.get_close_matches(tail, self._suggestions, n=1, cutoff=0.75)), "")


def _explain_verb(shown: str, verb: str, vendor: Vendor) -> str:
    close = difflib.get_close_matches(verb.lower(), [each.lower() for each in vendor.verbs], n=1, cutoff=0.9)
    correct = next((each for each in vendor.verbs if close and each.lower() == close[0]), "")
    if correct:
        return f"There is no endpoint at {shown}; did you mean POST /{vendor.version}/models/MODEL:{correct}?"
    served = ", ".join(vendor.verbs)
    return f"The gateway does not serve the method ':{verb[:60]}' of {vendor.title}'s API; it serves {served}"
