"""Key sets: which keys are imported, when the issuer is asked again, and what happens while it can't be reached."""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from access.callers.jwks import FileKeySet, RemoteKeySet, read_keys
from access.callers.jwt import Issuer, TokenVerifier
from contract.errors import Unavailable
from tests.unit.access.tokens import (
    GOOD,
    ISSUER,
    OURS,
    Clock,
    Server,
    all_keys,
    b64,
    jwk,
    key_set,
    private,
    refusal,
    token,
    verifier,
)

WEAK = rsa.generate_private_key(65537, 1024)
RS, ES, ED = private("RS256"), private("ES256"), private("EdDSA")
ODD_ALGORITHMS: list[Any] = [None, "", "RSA-OAEP", "ES256", [], 1]
NO_OBJECTS: list[Any] = [None, 7, "a", [], ["kid"], {}]
# Half of these are keys to joserfc 1.8, and half to PyJWT 2.15.
REFUSED: dict[str, Any] = {
    "a short RSA key": jwk(WEAK, "a"),
    "a short RSA key with leading zeros": jwk(RS, "a") | {"n": b64(bytes(201)) + jwk(WEAK, "a")["n"]},
    "half an RSA key": jwk(RS, "a") | {"n": jwk(WEAK, "a")["n"]},
    "an RSA key longer than OpenSSL verifies with": jwk(RS, "a") | {"n": b64(b"\x01" + bytes(2047) + b"\x01")},
    "a modulus with padding": jwk(RS, "a", n=jwk(RS, "a")["n"] + "="),
    "a modulus of thousands of digits": jwk(RS, "a", n=10**700),
    "an exponent of 1": jwk(RS, "a", e="AQ"),
    "Ed448": jwk(ed448.Ed448PrivateKey.generate(), "a"),
    "X25519": jwk(x25519.X25519PrivateKey.generate(), "a"),
    "secp256k1": jwk(ec.generate_private_key(ec.SECP256K1()), "a"),
    "a point of another curve": jwk(ES, "a", crv="P-384"),
    "a curve that is a list": jwk(ES, "a", crv=[]),
    "no point of the curve": jwk(ES, "a") | {"x": jwk(private("ES256", "another"), "a")["x"]},
    "a secret": {"kid": "a", "kty": "oct", "k": "AAAA"},
    "a private key": jwk(ED, "a", d="AAAA"),
    "for encryption": jwk(RS, "a", use="enc"),
    "for a list of nothing": jwk(RS, "a", use=[]),
    "for a list": jwk(RS, "a", use=["sig"]),
    "for null": jwk(RS, "a", use=None),
    "for signing": jwk(RS, "a", key_ops=["sign"]),
    "for no operation": jwk(RS, "a", key_ops=[]),
    "operations are null": jwk(RS, "a", key_ops=None),
    **{f"the algorithm {each!r}": jwk(RS, "a", alg=each) for each in ODD_ALGORITHMS},
    "no name": {name: value for name, value in jwk(RS, "a").items() if name != "kid"},
    "an empty name": jwk(RS, ""),
    "a name that is a number": jwk(RS, "a") | {"kid": 7},
    "a kind that is a list": jwk(RS, "a") | {"kty": ["RSA"]},
    "no modulus": {"kid": "a", "kty": "RSA"},
    **{f"not an object: {each!r}": each for each in NO_OBJECTS},
}


@pytest.mark.parametrize("row", REFUSED)
def test_a_key_that_proves_nothing_is_left_out(row: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_keys(key_set(REFUSED[row])) == {}


@pytest.mark.parametrize(
    "more",
    [
        {"use": "sig", "key_ops": ["verify"]},
        # As a key vault writes them.
        {"use": "sig", "key_ops": ["sign", "verify", "wrapKey", "unwrapKey", "encrypt", "decrypt"]},
        {"key_ops": ["verify", "an operation of its own"]},
        {"x5c": None, "x5t": None, "x5u": "", "oth": [], "issuer": {"a": 1}},
    ],
)
def test_members_that_do_not_matter_lose_no_key(more: dict[str, Any]) -> None:
    keys = key_set(jwk(RS, "RS256", **more), jwk(ES, "ES256", **more), jwk(ED, "EdDSA", **more))
    for algorithm in ("RS256", "ES256", "EdDSA"):
        assert asyncio.run(verifier(keys).verify(token(algorithm))) == GOOD


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
MEMBERS = st.sampled_from(["kid", "kty", "use", "key_ops", "alg", "n", "e", "crv", "x", "y", "d", "x5c", "foo"])


@given(st.sampled_from([RS, ES, ED]), st.dictionaries(MEMBERS, JSON, min_size=1, max_size=3))
@settings(deadline=None)
def test_mangled_keys_break_nothing(key: Any, more: dict[str, Any]) -> None:
    for found in read_keys(key_set(jwk(key, "a") | more)).values():
        assert not any(each.is_private for each in found)


def test_keys_of_one_name_are_told_apart_by_algorithm() -> None:
    bad = [*REFUSED.values()]
    # One that is for RS384 only, beside one of the same name for another.
    keys = key_set(*bad, jwk(RS, "a", alg="RS384"), jwk(ES, "a"))
    assert asyncio.run(verifier(keys).verify(token("RS384", RS, {"kid": "a"}))) == GOOD
    assert asyncio.run(verifier(keys).verify(token("ES256", ES, {"kid": "a"}))) == GOOD
    assert "'kid'" in refusal(token("RS256", RS, {"kid": "a"}), verifier(keys))


def test_what_is_no_key_set() -> None:
    for body in (b"", b"[]", b"{}", b'{"keys":{}}', b"[" * 100_000, all_keys() + b" " * 1_000_000):
        with pytest.raises(ValueError, match=r".+"):
            read_keys(body)


def sets(*names: str) -> bytes:
    return key_set(*[jwk(private("EdDSA", name), name) for name in names])


async def answers(keys: RemoteKeySet | FileKeySet, *names: str) -> list[str]:
    found = []
    for result in await asyncio.gather(*[keys.key(name, "EdDSA") for name in names], return_exceptions=True):
        assert result is None or not isinstance(result, BaseException) or isinstance(result, Unavailable)
        found.append("gone" if isinstance(result, Unavailable) else "none" if result is None else "key")
    return found


def test_keys_rotate_and_nobody_asks_more_than_needed() -> None:
    async def run() -> None:
        server, clock = Server(jwks=sets("a", "b")), Clock(5.0)
        keys = server.keys(clock)
        # All at once: one request.
        assert await answers(keys, *["a", "b"] * 50, "c") == ["key"] * 100 + ["none"]
        assert len(server.asked) == 1
        server.bodies[ISSUER + "jwks"] = sets("b", "c")
        clock.now += 29
        assert await answers(keys, "c", "d", "a") == ["none", "none", "key"]
        clock.now += 1
        await answers(keys, *["c", "d", "a", "b"] * 20)
        assert await answers(keys, "c", "d", "a", "b") == ["key", "none", "none", "key"]
        assert len(server.asked) == 2
        # A key that was withdrawn is not used once the keys are old, if only the server can be asked.
        server.bodies[ISSUER + "jwks"] = sets("c")
        clock.now += 3600
        assert await answers(keys, "b", "c") == ["none", "key"]
        assert len(server.asked) == 3
        assert await keys.key("c", "RS256") is None

    asyncio.run(run())


def test_while_the_server_is_gone_old_keys_serve_for_a_day() -> None:
    async def run() -> None:
        server, clock = Server(jwks=sets("a")), Clock(5.0)
        keys = server.keys(clock)
        server.gone = True
        assert await answers(keys, "a", "b") == ["gone", "gone"]
        assert await answers(keys, "a") == ["gone"]
        assert len(server.asked) == 1
        server.gone, clock.now = False, clock.now + 30
        assert await answers(keys, "a", "b") == ["key", "none"]
        for server.gone, server.bodies[ISSUER + "jwks"] in ((True, b""), (False, b"<html>"), (False, b" " * 1_000_001)):
            clock.now += 8 * 3600 - 10
            # Nobody can tell whether there is a `b` by now.
            assert await answers(keys, "a", "b") == ["key", "gone"]
        clock.now += 31
        with pytest.raises(Unavailable) as raised:
            await TokenVerifier([(Issuer(ISSUER, OURS), keys)], Clock()).verify(token(header={"kid": "a"}))
        assert 1 <= (raised.value.retry_after_s or 0) <= 30
        server.bodies[ISSUER + "jwks"] = sets("a", "b")
        clock.now += 30
        assert await answers(keys, "a", "b") == ["key", "key"]

    asyncio.run(run())


def test_a_slow_server_holds_nobody_long_and_who_leaves_takes_nothing_along() -> None:
    async def run() -> None:
        server, clock = Server(jwks=sets("a")), Clock(5.0)
        keys = server.keys(clock)
        server.pause_s = 0.05
        first = asyncio.create_task(keys.key("a", "EdDSA"))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await answers(keys, "a") == ["key"]
        server.pause_s, clock.now = 3600.0, clock.now + 3600
        async with asyncio.timeout(3):
            assert await answers(keys, *"aaaa") == ["key"] * 4
        assert len(server.asked) == 2

    asyncio.run(run())


def test_the_issuer_names_its_keys() -> None:
    place = ".well-known/openid-configuration"
    right = {"issuer": ISSUER, "jwks_uri": ISSUER + "jwks"}
    wrong: list[Any] = [right | {"issuer": ISSUER[:-1]}, right | {"jwks_uri": "http://id.example.com/jwks"}, [], {}]
    for document in (right, *wrong, right | {"jwks_uri": "file:///etc/passwd"}, right | {"jwks_uri": 7}):
        server = Server(**{place: json.dumps(document).encode(), "jwks": sets("a")})
        keys = RemoteKeySet(server, issuer=ISSUER, clock=Clock())
        assert asyncio.run(answers(keys, "a")) == ["key" if document is right else "gone"]
        assert server.asked == [ISSUER + place, ISSUER + "jwks"][: 2 if document is right else 1]
    with pytest.raises(ValueError, match="URL"):
        RemoteKeySet(Server())


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = FileKeySet(path)
    assert asyncio.run(answers(keys, "a")) == ["gone"]
    states = [
        (b"{", "gone"),
        (sets("a"), "key"),
        (sets("b"), "none"),
        (sets("a"), "key"),
        (b"{", "key"),
        (sets(), "none"),
    ]
    for number, (body, expected) in enumerate(states):
        path.write_bytes(body)
        os.utime(path, (number, number))
        assert asyncio.run(answers(keys, "a", "a")) == [expected] * 2
    path.unlink()
    assert asyncio.run(answers(keys, "a")) == ["none"]
