"""Tokens: each way to forge or to bend one is refused, and an issuer that can't be reached is nobody's fault."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from access.callers.jwks import FileKeySet, RemoteKeySet, read_keys
from access.callers.jwt import ALGORITHMS, KEEP_COUNT, Issuer, PublicKey, TokenVerifier, looks_like_token, signed_by
from contract.errors import Unauthenticated, Unavailable

NOW = 1_800_000_000.0
ISSUER, OURS = "https://id.example.com/", "gatehouse"
GOOD: dict[str, Any] = {"iss": ISSUER, "aud": OURS, "sub": "app-7", "exp": NOW + 600, "nbf": NOW - 5, "iat": NOW}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@cache
def private(kind: str, name: str = "k") -> Any:
    """A key for an algorithm; another name, another key."""
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind])
    return rsa.generate_private_key(65537, 2048) if kind[:2] in ("RS", "PS") else ed25519.Ed25519PrivateKey.generate()


def signature(key: Any, algorithm: str, data: bytes) -> bytes:
    form = ALGORITHMS[algorithm]
    if form.scheme == "Ed":
        return bytes(key.sign(data))
    if form.scheme == "ES":
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(form.hash)))
        return r.to_bytes(size) + s.to_bytes(size)
    pss = padding.PSS(padding.MGF1(form.hash), form.hash.digest_size)
    return bytes(key.sign(data, pss if form.scheme == "PS" else padding.PKCS1v15(), form.hash))


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
    found: dict[str, Any] = {"kid": kid, "kty": "OKP", "crv": "Ed25519"}
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        n = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
        found |= {"kty": "RSA", "n": b64(n), "e": b64(numbers.e.to_bytes(3))}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]
        x, y = b64(point[: len(point) // 2]), b64(point[len(point) // 2 :])
        found |= {"kty": "EC", "crv": NAMES[public.curve.name], "x": x, "y": y}
    else:
        found["x"] = b64(public.public_bytes_raw())
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


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_right_tokens_of_every_algorithm(algorithm: str) -> None:
    assert asyncio.run(verifier().verify(token(algorithm))) == GOOD
    assert "signature" in refusal(token(algorithm, private(algorithm, "another")))
    assert looks_like_token(token(algorithm))


def test_signatures_of_others() -> None:
    """The examples of RFC 7515, A.3, and of RFC 8037, A.4."""
    x, y = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    elliptic = {"kid": "ES256", "kty": "EC", "crv": "P-256", "x": x, "y": y}
    edwards = {"kid": "EdDSA", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    keys = read_keys(key_set(elliptic, edwards))
    signed = {
        "ES256": "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19y"
        "b290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        "EdDSA": "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6d"
        "WbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    }
    for algorithm, text in signed.items():
        data, _, tail = text.rpartition(".")
        raw, key = base64.urlsafe_b64decode(tail + "=="), keys[algorithm][0].key
        assert signed_by(key, algorithm, data.encode(), raw)
        assert not signed_by(key, algorithm, data.encode() + b"x", raw)


def test_algorithms_that_prove_nothing() -> None:
    for name in ("none", "None", "nOnE", "", "HS256", None, 7, ["RS256"]):
        assert "'alg'" in refusal(token("RS256", header={"alg": name}))
    head, body, _ = token("RS256", header={"alg": "none"}).split(".")
    assert looks_like_token(f"{head}.{body}.")
    assert "'alg'" in refusal(f"{head}.{body}.")
    public = private("RS256").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = b64(json.dumps({"alg": "HS256", "kid": "RS256"}).encode())
    tail = b64(hmac.digest(pem, f"{head}.{body}".encode(), hashlib.sha256))
    assert "'alg'" in refusal(f"{head}.{body}.{tail}")


def test_only_what_the_issuer_allows() -> None:
    only = TokenVerifier([(Issuer(ISSUER, OURS, ("ES256",)), Server(jwks=all_keys()).keys(Clock()))], Clock())
    assert "'alg'" in refusal(token("RS256"), only)
    assert asyncio.run(only.verify(token("ES256"))) == GOOD
    for wrong in (Issuer(ISSUER, OURS, ("HS256",)), Issuer(ISSUER, OURS, ()), Issuer(ISSUER, ""), Issuer("", OURS)):
        with pytest.raises(ValueError, match="issuer"):
            TokenVerifier([(wrong, Server().keys(Clock()))])


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("exp", (NOW - 31, NOW - 30, 0), "expired"),
        ("exp", (..., None, "1900000000", True, [NOW], 10**400, 1e300), "'exp'"),
        ("nbf", (NOW + 31, None, "now"), "'nbf'"),
        ("iat", (NOW + 31, "now", False), "'iat'"),
        ("iss", (..., ISSUER[:-1], ISSUER.upper(), "", None, [ISSUER]), "'iss'"),
        ("aud", (..., "other", "", None, ["other"], [], [OURS, 7], {OURS: 1}, OURS + " "), "'aud'"),
    ],
)
def test_claims(name: str, values: tuple[Any, ...], said: str) -> None:
    for value in values:
        assert said in refusal(token(**{name: value}))
    edges: list[dict[str, Any]] = [{"exp": NOW - 29}, {"nbf": NOW + 29, "iat": NOW + 29}, {"nbf": ..., "iat": ...}]
    for right in (*edges, {"aud": ["x", OURS]}):
        assert asyncio.run(verifier().verify(token(**right)))["sub"] == "app-7"


def test_headers_that_are_not_right() -> None:
    assert "'crit'" in refusal(token(header={"crit": ["exp"]}))
    assert "'crit'" in refusal(token(header={"crit": []}))
    for kind in ("JWE", "", None, 1, "dpop+jwt"):
        assert "'typ'" in refusal(token(header={"typ": kind}))
    for kid in ("", None, 1, "EdDSA ", "RS256", "unknown"):
        assert "'kid'" in refusal(token(header={"kid": kid}))
    for kind in ("JWT", "jwt", "application/at+jwt"):
        assert asyncio.run(verifier().verify(token(header={"typ": kind}))) == GOOD


def test_no_key_comes_from_the_token() -> None:
    mine = private("RS256", "mine")
    server = Server(jwks=all_keys(), mine=key_set(jwk(mine, "mine")))
    offered = {"jwk": jwk(mine, "mine"), "jku": ISSUER + "mine", "x5u": ISSUER + "mine", "x5c": ["MIIB"]}
    for kid, said in (("RS256", "signature"), ("mine", "'kid'")):
        assert said in refusal(token("RS256", mine, {"kid": kid, **offered}), verifier(server=server))
    assert set(server.asked) == {ISSUER + "jwks"}
    assert asyncio.run(verifier().verify(token("RS256", header=offered))) == GOOD


def test_forms_that_are_not_right() -> None:
    good = token()
    head, body, tail = good.split(".")
    odd = ["", ".", good[:-1], good[:-2], good + ".", good + "=", good + "\n", " " + good, "\udcff" + good]
    odd += [f"{head}.{body}", f"{head}.{body}.", f"{head}..{tail}"]
    odd += [f"{head}==.{body}.{tail}", f"{head}.\n{body}.{tail}"]
    # The same bytes, written otherwise.
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    odd.append(good[:-1] + last[last.index(good[-1]) + 1])
    payload, start = json.dumps(GOOD).encode(), b'{"alg":"EdDSA","kid":"EdDSA"'
    odd += [raw_token(start + b',"alg":"EdDSA"}', payload)]
    for raw in (b"[" * 12_000, b"[]", b"7", b"", b"\xff", payload.decode().encode("utf-16"), b"\xef\xbb\xbf" + payload):
        odd += [raw_token(start + b"}", raw), raw_token(raw, payload)]
    numbers = [b'"x":NaN', b'"x":-Infinity', b'"x":' + b"1" * 5000]
    for more in (*numbers, b'"aud":"gatehouse"', b'"x":"\\ud800"', b'"x":{"a":1,"a":2}'):
        odd.append(raw_token(start + b"}", payload[:-1] + b"," + more + b"}"))
    for text in odd:
        message = refusal(text)
        assert "well-formed" in message or "signature" in message
    assert "16 KB" in refusal(token(pad="x" * 16_384))


def test_what_looks_like_a_token() -> None:
    assert looks_like_token(token(exp=0))
    no_alg, a_list = b64(b'{"typ":"JWT"}') + ".e30.e30", b64(b'["alg"]') + ".e30.e30"
    for text in ("", "sk-gatehouse-1234", "a.b.c", "..", "www.example.com", no_alg, a_list, token() + ".x", "\udcff.."):
        assert not looks_like_token(text)


def test_any_other_character_anywhere_is_refused() -> None:
    for algorithm in ("ES512", "RS256"):
        good, checker = token(algorithm), verifier()
        for place, old in enumerate(good):
            refusal(good[:place] + ("B" if old == "A" else "A") + good[place + 1 :], checker)


@given(data=st.data(), algorithm=st.sampled_from(sorted(ALGORITHMS)))
@settings(deadline=None)
def test_mangled_tokens_are_refused_and_break_nothing(data: st.DataObject, algorithm: str) -> None:
    good, others = token(algorithm), [token(each) for each in ("EdDSA", "RS256", "ES256")]
    place, parts = data.draw(st.integers(0, len(good) - 1)), good.split(".")
    start, rest = good[:place], good[place + 1 :]
    pieces = st.sampled_from([*parts, *".".join(others).split(".")])
    changed = st.characters() | st.sampled_from("ABCxyz019-_.=") | st.text()
    swapped = st.permutations(parts) | st.tuples(pieces, pieces, pieces)
    cut = st.integers(0, 9).map(lambda count: start + rest[count:])
    mangled = data.draw(changed.map(lambda new: start + new + rest) | swapped.map(".".join) | cut | st.text())
    if mangled not in (good, *others):
        refusal(mangled)
        looks_like_token(mangled)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(), LEAVES, max_size=2)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), JSON), st.data())
@settings(deadline=None)
def test_signed_nonsense_is_refused_or_right_and_breaks_nothing(header: dict[str, Any], data: st.DataObject) -> None:
    claims = data.draw(st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub"]), JSON))
    head = {"alg": "EdDSA", "kid": "EdDSA"} | (header if data.draw(st.booleans()) else {})
    text = raw_token(json.dumps(head).encode(), json.dumps(GOOD | claims).encode())
    with contextlib.suppress(Unauthenticated):
        assert asyncio.run(verifier().verify(text)) == GOOD | claims


def test_weak_and_unfit_keys_are_none() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    rs, es, ed = private("RS256"), private("ES256"), private("EdDSA")
    half = jwk(rs, "a") | {"n": jwk(weak, "a")["n"]}
    no_point = jwk(es, "a") | {"x": jwk(private("ES256", "another"), "a")["x"]}
    bad: list[Any] = [half, no_point, jwk(weak, "a"), jwk(rs, ""), jwk(rs, "a", use="enc"), jwk(rs, "a", alg="ES256")]
    odd: list[Any] = [None, "", "RSA-OAEP", [], 1]
    bad += [*[jwk(rs, "a", alg=each) for each in odd], jwk(ed, "a", d="AAAA")]
    bad += [jwk(rs, "a", key_ops=["sign"]), jwk(rs, "a", n="AQAB="), jwk(es, "a", crv="P-384"), jwk(es, "a", crv=[])]
    bad += [{"kid": "a", "kty": "oct", "k": "AAAA"}, {"kty": "RSA"}, jwk(rs, "a") | {"kid": 7}, None, 7, "a", [], {}]
    assert read_keys(key_set(*bad)) == {}
    # One that is for RS384 only, beside one of the same name for another.
    keys = key_set(*bad, jwk(rs, "a", alg="RS384"), jwk(es, "a"))
    assert asyncio.run(verifier(keys).verify(token("RS384", rs, {"kid": "a"}))) == GOOD
    assert asyncio.run(verifier(keys).verify(token("ES256", es, {"kid": "a"}))) == GOOD
    assert "'kid'" in refusal(token("RS256", rs, {"kid": "a"}), verifier(keys))
    for body in (b"", b"[]", b"{}", b'{"keys":{}}', b"[" * 100_000, all_keys() + b" " * 1_000_000):
        with pytest.raises(ValueError, match=r".+"):
            read_keys(body)


def test_two_issuers_and_two_audiences() -> None:
    one, two = Server(jwks=all_keys()), Server(jwks=key_set(jwk(private("EdDSA", "two"), "EdDSA")))
    clock = Clock()
    issuers = [Issuer(ISSUER, "first"), Issuer(ISSUER, OURS), Issuer("https://two", OURS)]
    checker = TokenVerifier(list(zip(issuers, [one.keys(clock), one.keys(clock), two.keys(clock)], strict=True)), clock)
    assert asyncio.run(checker.verify(token())) == GOOD
    assert asyncio.run(checker.verify(token(key=private("EdDSA", "two"), iss="https://two")))["iss"] == "https://two"
    assert "signature" in refusal(token(iss="https://two"), checker)


class Asked:
    """A key set that counts, and gives one key for all."""

    def __init__(self, key: Any) -> None:
        self.count, self.only = 0, key.public_key()

    async def key(self, kid: str, algorithm: str) -> PublicKey:
        self.count += 1
        return cast("PublicKey", self.only)


def test_a_key_that_does_not_fit_is_none_whoever_hands_it_over() -> None:
    weak, other = rsa.generate_private_key(65537, 1024), private("ES384")
    for algorithm, key, signer in (("RS256", weak, weak), ("ES256", other, other), ("EdDSA", other, None)):
        checker = TokenVerifier([(Issuer(ISSUER, OURS), Asked(key))], Clock())
        assert "'kid'" in refusal(token(algorithm, signer), checker)


def test_a_token_is_remembered_for_a_while() -> None:
    async def run() -> None:
        clock, asked = Clock(), Asked(private("EdDSA"))
        checker = TokenVerifier([(Issuer(ISSUER, OURS), asked)], clock)

        async def counted(*texts: str) -> int:
            before = asked.count
            for text in texts:
                claims = await checker.verify(text)
                assert claims.pop("sub") == "app-7"
            return asked.count - before

        long, short, over = token(), token(exp=NOW + 10), token(exp=NOW - 1)
        assert await counted(long, short, long, short) == 2
        # Right by the leeway alone: looked at each time.
        assert await counted(over, over) == 2
        clock.now += 59
        assert await counted(long) == 0
        with pytest.raises(Unauthenticated, match="expired"):
            await counted(short)
        clock.now += 1
        assert await counted(long, long) == 1
        many = [token(jti=number) for number in range(KEEP_COUNT)]
        assert await counted(*many) == KEEP_COUNT
        assert await counted(many[-1], many[0]) == 0
        assert await counted(long) == 1

    asyncio.run(run())


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
