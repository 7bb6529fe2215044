"""Paths that are almost ours: which one is meant, and what is said of those that vendors have and Gatehouse has not.

Only paths that ask a model are served under other spellings. What stands in front of the gateway may guard the rest by
its path (`/admin`, `/v1/sources`, `/metrics`), so those have exactly one.
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
# How the paths are spelled that tell of the process.
_OPERATIONS = {
    "health": "GET /health",
    "livez": "GET /livez",
    "readyz": "GET /readyz",
    "healthz": "GET /readyz",
    "metrics": "GET /metrics",
}


class PathSuggestions:
    """What there is near the paths of these surfaces."""

    def __init__(self, vendors: Vendors, surfaces: Iterable[tuple[Surface, Sequence[Route]]]) -> None:
        self._vendors = vendors.by_name
        self._first = vendors.first.name
        self._versions = frozenset({"v1", *vendors.of_version})
        self._rooted = frozenset(each for vendor in vendors for each in vendor.rooted)
        self._verbs = {verb: vendor for vendor in vendors for verb in vendor.verbs}
        # What follows the version, and whose API it is; empty for all.
        self._tails = {_MODELS: ""}
        self._spelled: dict[str, str] = {}
        for surface, routes in surfaces:
            for route in routes:
                if surface.vendor is not None and isinstance(route, FixedPath) and route.path.startswith("/v1/"):
                    tail = route.path.removeprefix("/v1/")
                    self._tails[tail] = surface.vendor.name
                    self._spelled[tail] = f"{route.method} {route.path}"
            self._spelled |= surface.meant
        self._spelled |= _OPERATIONS
        self._never_served = [
            (tail, vendor.name)
            for vendor in vendors
            for tail in vendor.unserved.split()
            if self._tails.get(tail) != vendor.name
        ]

    def served_as(self, path: str) -> str | None:
        """The path of ours that `path` can only mean: slashes too many, a version twice or left out; None if there is
        none.

        The result has one spelling, so that keys, limits and rules see no other.
        """
        parts = [part for part in path.split("/") if part]
        if not parts or "." in parts or ".." in parts:
            return None
        versions, parts = self._without_versions(parts)
        vendor: Vendor | None = None
        if parts and parts[0] in self._vendors:
            # As a prefix of ours, or of Google for those who speak OpenAI's dialect (/v1beta/openai/...).
            vendor, parts = self._vendors[parts[0]], parts[1:]
            later, parts = self._without_versions(parts)
            # Theirs is a version of their own API, and says nothing of this one's.
            versions = later or ([] if vendor.lent else versions)
        if len(set(versions)) > 1 and "v1" not in versions:
            return None
        # A base URL with /v1 before a client that adds its own version: the client knows.
        version = versions[-1] if versions else ""
        if not parts or len(parts) > 200:
            return None
        prefix = f"/{vendor.name}" if vendor is not None else ""
        tail = "/".join(parts)
        if parts[0] == _MODELS:
            return self._model_path(prefix, vendor, version, path.partition(_MODELS)[2].strip("/"))
        if vendor is not None and parts[0] in vendor.rooted and not versions:
            return f"{prefix}/{tail}"
        whose = self._tails.get(tail)
        if whose is None or version not in ("", "v1") or (vendor is not None and vendor.name != whose):
            return None
        return f"{prefix}/v1/{tail}"

    def _without_versions(self, parts: list[str]) -> tuple[list[str], list[str]]:
        count = 0
        while count < len(parts) and parts[count] in self._versions:
            count += 1
        return parts[:count], parts[count:]

    def _model_path(self, prefix: str, vendor: Vendor | None, version: str, name: str) -> str | None:
        """Of a list of models, of one, or of a call that a vendor makes on one. A name may have slashes of its own."""
        owner = self._verbs.get(name.rpartition(":")[2])
        if owner is not None:
            return f"{prefix}/{version or owner.version}/models/{name}" if vendor in (None, owner) else None
        version = version or (vendor.version if vendor is not None else "v1")
        return f"{prefix}/{version}/models" + (f"/{name}" if name else "")

    def explain(self, path: str) -> tuple[str, str]:
        """What to say of a path that leads nowhere, and whose API it belongs to; both empty for what means nothing."""
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
                instead = self._vendors[vendor].instead
                return f"{shown} is an endpoint of the vendor's that is not served here; chats go to {instead}", vendor
        close = self._closest(lower)
        if not close:
            return "", named
        spelled = self._spelled[close]
        vendor = named or self._tails.get(close, self._first)
        return f"There is no endpoint at {shown}; did you mean {spelled}?", vendor

    def _unserved_by(self, vendor: str) -> list[tuple[str, str]]:
        """Those of `vendor` first."""
        return sorted(self._never_served, key=lambda each: each[1] != vendor) if vendor else self._never_served

    def _closest(self, tail: str) -> str:
        """The nearest of our paths, or the one that the end of a longer one spells; empty for none."""
        if not tail or len(tail) > 200:
            return ""
        for known in sorted(self._spelled, key=len, reverse=True):
            if tail == known or (tail.endswith("/" + known) and ("/" in known or tail.startswith(known + "/"))):
                return known
        return next(iter(difflib.get_close_matches(tail, self._spelled, n=1, cutoff=0.75)), "")


def _explain_verb(shown: str, verb: str, vendor: Vendor) -> str:
    close = difflib.get_close_matches(verb.lower(), [each.lower() for each in vendor.verbs], n=1, cutoff=0.9)
    right = next((each for each in vendor.verbs if close and each.lower() == close[0]), "")
    if right:
        return f"There is no endpoint at {shown}; did you mean POST /{vendor.version}/models/MODEL:{right}?"
    served = ", ".join(vendor.verbs)
    return f"The method ':{verb[:60]}' of {vendor.title}'s API is not served here; served are {served}"
