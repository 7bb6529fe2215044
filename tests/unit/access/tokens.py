"""Tokens, keys and key sets for tests, and a server of keys that can be told to fail."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from access.callers.jwks import RemoteKeySet
from access.callers.jwt import ALGORITHMS, Issuer, TokenVerifier
from contract.errors import Unauthenticated

NOW = 1_800_000_000.0
ISSUER, OURS = "https://id.example.com/", "gatehouse"
GOOD: dict[str, Any] = {"iss": ISSUER, "aud": OURS, "sub": "app-7", "exp": NOW + 600, "nbf": NOW - 5, "iat": NOW}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp256k1": "secp256k1"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@cache
def private(kind: str, name: str = "k") -> Any:
    """A key for an algorithm; another name gives another key."""
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind])
    return rsa.generate_private_key(65537, 2048) if kind[:2] in ("RS", "PS") else ed25519.Ed25519PrivateKey.generate()


def signature(key: Any, algorithm: str, data: bytes) -> bytes:
    """By `cryptography` alone, so that the library under test does not confirm its own mistakes."""
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return key.sign(data)
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[-3:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return bytes(key.sign(data, pss if algorithm[:2] == "PS" else padding.PKCS1v15(), digest))


def raw_token(header: bytes, payload: bytes, algorithm: str = "EdDSA", key: Any = None) -> str:
    data = f"{b64(header)}.{b64(payload)}"
    return f"{data}.{b64(signature(key or private(algorithm), algorithm, data.encode()))}"


def token(algorithm: str = "EdDSA", key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A good one, but for what is given; a claim that is `...` is left out."""
    head = {"alg": algorithm, "kid": algorithm, "typ": "at+jwt"} | (header or {})
    said = {name: value for name, value in (GOOD | claims).items() if value is not ...}
    return raw_token(json.dumps(head).encode(), json.dumps(said).encode(), algorithm, key)


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    public = key.public_key()
    found: dict[str, Any] = {"kid": kid, "kty": "OKP"}
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        n = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
        found |= {"kty": "RSA", "n": b64(n), "e": b64(numbers.e.to_bytes(3))}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]
        x, y = b64(point[: len(point) // 2]), b64(point[len(point) // 2 :])
        found |= {"kty": "EC", "crv": NAMES[public.curve.name], "x": x, "y": y}
    else:
        found |= {"crv": type(public).__name__.removesuffix("PublicKey"), "x": b64(public.public_bytes_raw())}
    return found | more


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@cache
def all_keys() -> bytes:
    return key_set(*[jwk(private(each), each, alg=each, use="sig") for each in ALGORITHMS])


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Server:
    """Answers with `bodies`; counts what it is asked; is gone when told so."""

    def __init__(self, **bodies: bytes) -> None:
        self.bodies = {ISSUER + name: body for name, body in bodies.items()}
        self.asked: list[str] = []
        self.gone = False
        self.pause_s = 0.0

    async def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        await asyncio.sleep(self.pause_s)
        if self.gone:
            raise ConnectionError(url)
        return self.bodies[url]

    def keys(self, clock: Clock) -> RemoteKeySet:
        return RemoteKeySet(self, jwks_url=ISSUER + "jwks", clock=clock)


def verifier(keys: bytes = b"", server: Server | None = None) -> TokenVerifier:
    key_set = (server or Server(jwks=keys or all_keys())).keys(Clock())
    return TokenVerifier([(Issuer(ISSUER, OURS, tuple(ALGORITHMS)), key_set)], Clock())


def refusal(text: str, checker: TokenVerifier | None = None) -> str:
    with pytest.raises(Unauthenticated) as raised:
        asyncio.run((checker or verifier()).verify(text))
    assert len(text) < 16 or text not in raised.value.message
    return raised.value.message
