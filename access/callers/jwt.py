"""Callers by the tokens of an identity provider: JSON Web Tokens that it has signed and that are meant for us.

Only signatures with public keys are accepted (RSA, ECDSA, Ed25519); keys come from the issuer's key set, never from
the token. Nothing of a token, nor a claim's value, is in any message.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from contract.errors import Unauthenticated

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MAX_LENGTH = 16 * 1024
# How long a token that was found right is taken for right, and how many of them are kept.
KEEP_S = 60.0
KEEP_COUNT = 10_000
LEAST_RSA_BITS = 2048
_TYPES = {"jwt", "at+jwt"}
# Beyond this a number is no time, and a float can't hold it.
_LAST_TIME = 2**53
_MALFORMED = "The token is not a well-formed JSON Web Token"


class Algorithm(msgspec.Struct, frozen=True):
    """How a signature is made. `scheme`: RS, PS, ES or Ed; `curve` is that of ES."""

    scheme: str
    hash: hashes.HashAlgorithm
    curve: type[ec.EllipticCurve] | None = None


ALGORITHMS = {
    "RS256": Algorithm("RS", hashes.SHA256()),
    "RS384": Algorithm("RS", hashes.SHA384()),
    "RS512": Algorithm("RS", hashes.SHA512()),
    "PS256": Algorithm("PS", hashes.SHA256()),
    "PS384": Algorithm("PS", hashes.SHA384()),
    "PS512": Algorithm("PS", hashes.SHA512()),
    "ES256": Algorithm("ES", hashes.SHA256(), ec.SECP256R1),
    "ES384": Algorithm("ES", hashes.SHA384(), ec.SECP384R1),
    "ES512": Algorithm("ES", hashes.SHA512(), ec.SECP521R1),
    "EdDSA": Algorithm("Ed", hashes.SHA512()),
}


class Issuer(msgspec.Struct, frozen=True):
    """Whose tokens are accepted, and for whom they must be meant."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA", "PS256")
    leeway_s: float = 30.0


class KeySet(Protocol):
    """The public keys of one issuer."""

    async def key(self, kid: str, algorithm: str) -> PublicKey | None:
        """None where the issuer has no such key; raises `Unavailable` where nobody can tell."""
        ...


class _Token(msgspec.Struct, frozen=True):
    """What a token says; nothing of it is proven yet."""

    algorithm: str
    kid: str
    payload: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class _Kept(msgspec.Struct, frozen=True):
    payload: str
    until: float


class TokenVerifier:
    """Tells the claims of tokens that are right."""

    def __init__(self, issuers: Sequence[tuple[Issuer, KeySet]], clock: Callable[[], float] = time.time) -> None:
        """Several entries of one issuer may differ in their audience. Raises `ValueError` for one that can't be."""
        for issuer, _ in issuers:
            if not issuer.issuer or not issuer.audience:
                raise ValueError("An issuer needs its name and an audience")
            if not issuer.algorithms or not ALGORITHMS.keys() >= set(issuer.algorithms):
                raise ValueError(f"The algorithms of an issuer are some of {', '.join(ALGORITHMS)}")
            if not (math.isfinite(issuer.leeway_s) and issuer.leeway_s >= 0):
                raise ValueError("The leeway of an issuer is a number of seconds, 0 or more")
        self._issuers = tuple(issuers)
        self._clock = clock
        self._kept: dict[bytes, _Kept] = {}

    async def verify(self, token: str) -> dict[str, Any]:
        """The claims, the caller's to change. Raises `Unauthenticated`, or `Unavailable` when keys can't be had."""
        if len(token) > MAX_LENGTH:
            raise Unauthenticated("The token is longer than 16 KB")
        if not token.isascii():
            raise Unauthenticated(_MALFORMED)
        now = self._clock()
        digest = hashlib.sha256(token.encode()).digest()
        kept = self._kept.get(digest)
        if kept is not None and now < kept.until:
            claims: dict[str, Any] = json.loads(kept.payload)
            return claims
        said = _parsed(token)
        issuer, keys = self._accepting(said.claims)
        # Before the signature, so that an old token neither costs that nor sends us for keys that are long gone.
        _check_times(said.claims, now, issuer.leeway_s)
        if said.algorithm not in issuer.algorithms:
            raise Unauthenticated("The token's algorithm ('alg') is not accepted from its issuer")
        key = await keys.key(said.kid, said.algorithm)
        if key is None or not fits(key, said.algorithm):
            raise Unauthenticated("The token's issuer has no key of this 'kid' that fits the token's algorithm")
        if not signed_by(key, said.algorithm, said.signed, said.signature):
            raise Unauthenticated("The token's signature is wrong")
        self._keep(digest, _Kept(said.payload, min(said.claims["exp"], now + KEEP_S)), now)
        return said.claims

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
        raise Unauthenticated("The token is not meant for us: its audience ('aud') is another")

    def _keep(self, digest: bytes, kept: _Kept, now: float) -> None:
        self._kept.pop(digest, None)
        if kept.until <= now:
            return
        if len(self._kept) >= KEEP_COUNT:
            # The oldest; it would have been forgotten within a minute anyhow.
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = kept


def looks_like_token(text: str) -> bool:
    """Whether `text` has the form of a token, right or not; any other text may be an API key."""
    if text.count(".") != 2:
        return False
    head, *rest = text.split(".")
    if not head or len(head) > MAX_LENGTH:
        return False
    try:
        for part in rest:
            base64url(part)
        return "alg" in _json_object(base64url(head))[1]
    except ValueError:
        return False


def base64url(text: str) -> bytes:
    """Strictly: no padding, no other characters, no bits left over. Raises `ValueError`."""
    found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The decoder overlooks all that; there is exactly one right text for these bytes.
    if base64.urlsafe_b64encode(found).rstrip(b"=") != text.encode("ascii"):
        raise ValueError("not base64url")
    return found


def fits(key: PublicKey, algorithm: str) -> bool:
    """Whether `key` is of the kind, and the strength, that `algorithm` needs."""
    form = ALGORITHMS.get(algorithm)
    if form is None:
        return False
    if isinstance(key, rsa.RSAPublicKey):
        return form.scheme in ("RS", "PS") and key.key_size >= LEAST_RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return form.curve is not None and isinstance(key.curve, form.curve)
    return form.scheme == "Ed" and isinstance(key, ed25519.Ed25519PublicKey)


def signed_by(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `key` under the bytes `signed`; the key must fit."""
    form = ALGORITHMS[algorithm]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(form.hash), form.hash.digest_size)
            key.verify(signature, signed, pss if form.scheme == "PS" else padding.PKCS1v15(), form.hash)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                return False
            r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(form.hash))
        else:
            key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _parsed(token: str) -> _Token:
    """Raises `Unauthenticated` for what is no token, or one of a kind that is never accepted."""
    try:
        head, body, tail = token.split(".")
        _, header = _json_object(base64url(head))
        payload, claims = _json_object(base64url(body))
        signature = base64url(tail)
    except ValueError:
        raise Unauthenticated(_MALFORMED) from None
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Unauthenticated("The token's algorithm ('alg') is none that is ever accepted")
    if "crit" in header:
        raise Unauthenticated("The token's header has critical extensions ('crit'), which are not understood")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise Unauthenticated("The token's type ('typ') is neither JWT nor at+jwt")
    if not isinstance(kid, str) or not kid:
        raise Unauthenticated("The token's header does not name its key ('kid')")
    return _Token(algorithm, kid, payload, claims, f"{head}.{body}".encode(), signature)


def _check_times(claims: dict[str, Any], now: float, leeway_s: float) -> None:
    if now - leeway_s >= _time(claims, "exp"):
        raise Unauthenticated("The token has expired")
    if "nbf" in claims and _time(claims, "nbf") > now + leeway_s:
        raise Unauthenticated("The token is not valid yet ('nbf')")
    if "iat" in claims and _time(claims, "iat") > now + leeway_s:
        raise Unauthenticated("The token was issued in the future ('iat')")


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # True is a number to Python.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LAST_TIME:
        raise Unauthenticated(f"The token needs '{name}' to be a time in seconds")
    return value


def _json_object(raw: bytes) -> tuple[str, dict[str, Any]]:
    """The text and the object. Raises `ValueError` for anything that two readers could understand differently."""
    text = raw.decode()
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        if "\\u" in text:
            # Half a surrogate pair is a string that nobody can write down later.
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return text, found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("JSON has no such number")
