"""Where the public keys of an issuer come from: its server, by URL or by OpenID discovery, or a file."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.util import base64_to_int

from access.callers.jwt import ALGORITHMS, MIN_RSA_BITS, fits
from contract.errors import Unavailable

MAX_BODY = 1_000_000
# One refresh, both requests of it.
DEADLINE_S = 10.0
# How long a caller waits for new keys whose old key would do.
PATIENCE_S = 1.0
# OpenSSL verifies with no longer one.
_MAX_RSA_BITS = 16_384
# The members of a JSON Web Key that joserfc gets: for a null in any other one it would refuse the key.
_MEMBERS = ("kty", "alg", "n", "e", "crv", "x", "y")

Keys: TypeAlias = dict[str, list[Key]]


class RemoteKeySet:
    """Keys from the issuer's server. Asks it again when they are old and when a token names a key that is not there."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[bytes]],
        *,
        jwks_url: str = "",
        issuer: str = "",
        clock: Callable[[], float] = time.monotonic,
        fresh_s: float = 3600.0,
        stale_s: float = 86400.0,
        retry_s: float = 30.0,
    ) -> None:
        """With no `jwks_url`, `issuer` is asked for it. Keys are used for `stale_s` while the server can't be had."""
        if not jwks_url and not issuer:
            raise ValueError("A key set needs the URL of its keys, or its issuer")
        self._fetch = fetch
        self._jwks_url = jwks_url
        self._issuer = issuer
        self._clock = clock
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._retry_s = retry_s
        self._keys: Keys = {}
        self._read_at = self._asked_at = -math.inf
        self._failed = True
        self._flight: asyncio.Task[None] | None = None

    async def key(self, kid: str, algorithm: str) -> Key | None:
        """None where the issuer has no such key; raises `Unavailable` where the server that knows can't be had."""
        if self._age() >= self._stale_s:
            self._keys = {}
        known = kid in self._keys
        if not known or self._age() >= self._fresh_s:
            await self._refresh(PATIENCE_S if known else None)
        if kid not in self._keys and (self._failed or self._age() >= self._stale_s):
            wait_s = self._asked_at + self._retry_s - self._clock()
            raise Unavailable("The keys of the token's issuer can't be had now", retry_after_s=max(1.0, wait_s))
        return _find(self._keys, kid, algorithm)

    def _age(self) -> float:
        return self._clock() - self._read_at

    async def _refresh(self, patience_s: float | None) -> None:
        """Joins the refresh that runs; else starts one, unless there was one just now."""
        if self._flight is None or self._flight.done():
            now = self._clock()
            if now - self._asked_at < self._retry_s:
                return
            self._asked_at = now
            self._flight = asyncio.create_task(self._ask(now))
        # Whoever leaves, or is cancelled, leaves the refresh to the others.
        await asyncio.wait({self._flight}, timeout=patience_s)

    async def _ask(self, now: float) -> None:
        self._failed = True
        try:
            async with asyncio.timeout(DEADLINE_S):
                body = await self._fetch(self._jwks_url or await self._discovered())
                # Many keys take a while to check.
                keys = await asyncio.to_thread(read_keys, body)
        except Exception as error:
            structlog.get_logger().warning("the keys of an issuer can't be had", problem=type(error).__name__)
            return
        self._keys, self._read_at, self._failed = keys, now, False

    async def _discovered(self) -> str:
        found = _json_object(await self._fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration"))
        address = found.get("jwks_uri")
        if found.get("issuer") != self._issuer:
            raise ValueError("the document is of another issuer")
        secure = self._issuer.startswith("https://")
        if not isinstance(address, str) or not address.startswith("https://" if secure else ("https://", "http://")):
            raise ValueError("the document names no address of keys that is as safe as its own")
        return address


class FileKeySet:
    """Keys from a file, which is read again when it has changed. Keys that were read serve until there are others."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._keys: Keys | None = None
        self._seen: tuple[int, ...] = ()
        self._problem = ""

    async def key(self, kid: str, algorithm: str) -> Key | None:
        """None where the file has no such key; raises `Unavailable` where it could never be read."""
        self._read()
        if self._keys is None:
            raise Unavailable("The keys of the token's issuer can't be had now")
        return _find(self._keys, kid, algorithm)

    def _read(self) -> None:
        """In the event loop: asking for a local file's age is quicker than a thread, and it seldom changes."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                seen = (found.st_mtime_ns, found.st_size, found.st_ino)
                if seen == self._seen:
                    return
                body = file.read(MAX_BODY + 1)
            # A file that is wrong is not read at every call.
            self._seen = seen
            self._keys = read_keys(body)
            self._problem = ""
        except (OSError, ValueError) as error:
            problem = type(error).__name__
            if problem != self._problem:
                structlog.get_logger().warning("a file of keys can't be read", path=str(self._path), problem=problem)
            self._problem = problem


def read_keys(body: bytes) -> Keys:
    """The keys of a JSON Web Key Set by their `kid`; those that can't be used here are left out. Else `ValueError`."""
    entries = _json_object(body).get("keys")
    if not isinstance(entries, list):
        raise ValueError("not a key set")
    keys: Keys = {}
    for jwk in entries:
        try:
            key = _import(jwk)
        except (KeyError, TypeError, ValueError, JoseError, UnsupportedAlgorithm):
            continue
        keys.setdefault(jwk["kid"], []).append(key)
    return keys


def _find(keys: Keys, kid: str, algorithm: str) -> Key | None:
    return next((key for key in keys.get(kid, ()) if fits(key, algorithm)), None)


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY:
        raise ValueError("too large")
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _import(jwk: Any) -> Key:
    """Raises one of several errors for what is no key, or no key that verifies signatures."""
    kid = jwk["kid"]
    if not isinstance(kid, str) or not kid:
        raise ValueError("no token can name it")
    # A private key that everybody can read proves nothing.
    if "d" in jwk:
        raise ValueError("a private key")
    # joserfc takes an empty `use` or `alg` for a missing one, and refuses `key_ops` that names an operation of its own.
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]) or jwk.get("alg") == "":
        raise ValueError("not for signatures")
    # joserfc imports an RSA key of any size, and for a short one it writes a warning to stderr.
    if jwk["kty"] == "RSA" and not MIN_RSA_BITS <= base64_to_int(jwk["n"]).bit_length() <= _MAX_RSA_BITS:
        raise ValueError("too short or too long")
    key = import_key({name: jwk[name] for name in _MEMBERS if name in jwk})
    if not any(fits(key, name) for name in ALGORITHMS):
        raise ValueError("for no algorithm")
    return key
