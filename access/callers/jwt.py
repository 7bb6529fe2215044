"""Callers by the tokens of an identity provider: JSON Web Tokens that it has signed and that are meant for us.

joserfc verifies signatures and decides which key fits which algorithm. This module reads the token more strictly than
joserfc does, selects issuer and audience, and caches verified tokens. Only signatures with public keys are accepted
(RSA, ECDSA, Ed25519); keys come from the issuer's key set, never from the token. No error message contains any part of
a token or the value of a claim.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import msgspec
from joserfc.errors import JoseError
from joserfc.jwa import JWS_ALGORITHMS, JWSAlgModel
from joserfc.jwk import Key, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from contract.errors import Unauthenticated

MAX_LENGTH = 16 * 1024
# How long a verified token is accepted without verifying it again, and the number of cached tokens.
CACHE_TTL_S = 60.0
CACHE_SIZE = 10_000
MIN_RSA_BITS = 2048
_TYPES = {"jwt", "at+jwt"}
# Larger numbers are invalid times and do not fit a float. joserfc accepts them: such a token would never expire.
_LAST_TIME = 2**53
_MALFORMED = "The token is not a well-formed JSON Web Token"
_NAMES = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

# joserfc also has `none`, HMAC and secp256k1. Its registry isn't used: it warns of EdDSA at every token.
ALGORITHMS: dict[str, JWSAlgModel] = {each.name: each for each in JWS_ALGORITHMS if each.name in _NAMES}


class Issuer(msgspec.Struct, frozen=True):
    """An accepted issuer, and the audience that its tokens must have."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA", "PS256")
    leeway_s: float = 30.0


class KeySet(Protocol):
    """The public keys of one issuer."""

    async def key(self, kid: str, algorithm: str) -> Key | None:
        """Returns None if the issuer has no such key. Raises `Unavailable` if the keys can't be fetched."""
        ...


class _Token(msgspec.Struct, frozen=True):
    """The parts of a token before verification."""

    algorithm: str
    kid: str
    payload: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class _Verified(msgspec.Struct, frozen=True):
    """A cached token: its claims as JSON, and the time (seconds) until which it is accepted."""

    payload: str
    until: float


class TokenVerifier:
    """Verifies tokens and returns their claims."""

    def __init__(self, issuers: Sequence[tuple[Issuer, KeySet]], clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix time in seconds. One issuer may occur several times, with different audiences.

        Raises `ValueError` for an issuer without a name or audience, an unknown algorithm or a negative leeway.
        """
        for issuer, _ in issuers:
            if not issuer.issuer or not issuer.audience:
                raise ValueError("an issuer needs a name and an audience")
            if not issuer.algorithms or not ALGORITHMS.keys() >= set(issuer.algorithms):
                raise ValueError(f"the algorithms of an issuer must be some of {', '.join(ALGORITHMS)}")
            if not (math.isfinite(issuer.leeway_s) and issuer.leeway_s >= 0):
                raise ValueError("the leeway of an issuer must be 0 seconds or more")
        self._issuers = tuple(issuers)
        self._clock = clock
        self._cache: dict[bytes, _Verified] = {}

    async def verify(self, token: str) -> dict[str, Any]:
        """Verifies a token and returns a copy of its claims. Raises `Unauthenticated`, `Unavailable` without keys."""
        if len(token) > MAX_LENGTH:
            raise Unauthenticated("The token is longer than 16 KB")
        if not token.isascii():
            raise Unauthenticated(_MALFORMED)
        now = self._clock()
        digest = hashlib.sha256(token.encode()).digest()
        cached = self._cache.get(digest)
        if cached is not None and now < cached.until:
            claims: dict[str, Any] = json.loads(cached.payload)
            return claims
        read = _read(token)
        issuer, keys = self._accepting(read.claims)
        # Before the signature, so that an expired token causes neither a verification nor a fetch of old keys.
        _check_times(read.claims, now, issuer.leeway_s)
        if read.algorithm not in issuer.algorithms:
            raise Unauthenticated("The token's algorithm ('alg') is not accepted for its issuer")
        key = await keys.key(read.kid, read.algorithm)
        if key is None or not fits(key, read.algorithm):
            raise Unauthenticated("The token's issuer has no key of this 'kid' that fits the token's algorithm")
        if not ALGORITHMS[read.algorithm].verify(read.signed, read.signature, key):
            raise Unauthenticated("The token's signature is invalid")
        self._remember(digest, _Verified(read.payload, min(read.claims["exp"], now + CACHE_TTL_S)), now)
        return read.claims

    def _accepting(self, claims: dict[str, Any]) -> tuple[Issuer, KeySet]:
        named = [each for each in self._issuers if each[0].issuer == claims.get("iss")]
        if not named:
            raise Unauthenticated("The token's issuer ('iss') is not accepted here")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if all(isinstance(each, str) for each in audiences):
            for each in named:
                if each[0].audience in audiences:
                    return each
        raise Unauthenticated("The token is for another audience ('aud')")

    def _remember(self, digest: bytes, verified: _Verified, now: float) -> None:
        self._cache.pop(digest, None)
        if verified.until <= now:
            return
        if len(self._cache) >= CACHE_SIZE:
            # The oldest entry, which would expire within a minute anyway.
            del self._cache[next(iter(self._cache))]
        self._cache[digest] = verified


def looks_like_token(text: str) -> bool:
    """Whether `text` has the form of a token, valid or not; any other text may be an API key."""
    if text.count(".") != 2:
        return False
    head, *rest = text.split(".")
    if not head or len(head) > MAX_LENGTH:
        return False
    try:
        for part in rest:
            urlsafe_b64decode(part.encode("ascii"))
        return "alg" in _json_object(urlsafe_b64decode(head.encode("ascii")))[1]
    except ValueError:
        return False


def fits(key: Key, algorithm: str) -> bool:
    """Whether `key` has the kind, the curve, the strength and the declared `alg` that `algorithm` needs."""
    model = ALGORITHMS.get(algorithm)
    if model is None:
        return False
    try:
        model.check_key(key)
    except JoseError:
        return False
    # joserfc only warns of a short RSA key, and accepts every Edwards and Montgomery curve for EdDSA.
    if isinstance(key, RSAKey):
        return key.raw_value.key_size >= MIN_RSA_BITS
    return not isinstance(key, OKPKey) or key.curve_name == "Ed25519"


def _read(token: str) -> _Token:
    """Reads an ASCII text once, before joserfc sees a part of it. Raises `Unauthenticated` for an invalid form."""
    try:
        head, body, tail = token.encode().split(b".")
        _, header = _json_object(urlsafe_b64decode(head))
        payload, claims = _json_object(urlsafe_b64decode(body))
        signature = urlsafe_b64decode(tail)
    except ValueError:
        raise Unauthenticated(_MALFORMED) from None
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Unauthenticated("The token's algorithm ('alg') is not supported")
    if "crit" in header:
        raise Unauthenticated("The token's header has critical extensions ('crit'), which are not supported")
    if header.get("b64", True) is not True:
        raise Unauthenticated("The token's payload is not base64url ('b64'), which is not supported")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise Unauthenticated("The token's type ('typ') is neither JWT nor at+jwt")
    if not isinstance(kid, str) or not kid:
        raise Unauthenticated("The token's header does not name its key ('kid')")
    return _Token(algorithm, kid, payload, claims, head + b"." + body, signature)


def _check_times(claims: dict[str, Any], now: float, leeway_s: float) -> None:
    if now - leeway_s >= _time(claims, "exp"):
        raise Unauthenticated("The token has expired")
    if "nbf" in claims and _time(claims, "nbf") > now + leeway_s:
        raise Unauthenticated("The token is not valid yet ('nbf')")
    if "iat" in claims and _time(claims, "iat") > now + leeway_s:
        raise Unauthenticated("The token was issued in the future ('iat')")


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # In Python, True is a number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LAST_TIME:
        raise Unauthenticated(f"The token needs '{name}' to be a time in seconds")
    return value


def _json_object(raw: bytes) -> tuple[str, dict[str, Any]]:
    """Returns the text and the object. Raises `ValueError` for JSON that parsers may interpret differently."""
    text = raw.decode()
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        if "\\u" in text:
            # A lone surrogate can't be encoded later.
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return text, found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("not a JSON number")
