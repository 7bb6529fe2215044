"""Tokens: each way to forge or to bend one is refused, and an issuer that can't be reached is nobody's fault."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from access.callers.jwks import read_keys
from access.callers.jwt import ALGORITHMS, CACHE_SIZE, Issuer, TokenVerifier, looks_like_token
from config.access import IdentityConfig
from contract.errors import Unauthenticated
from tests.architecture.floors import ROOT
from tests.unit.access.tokens import (
    GOOD,
    ISSUER,
    NOW,
    OURS,
    Clock,
    Server,
    all_keys,
    b64,
    jwk,
    key_set,
    private,
    raw_token,
    refusal,
    signature,
    token,
    verifier,
)


def test_every_algorithm_that_can_be_configured_is_there() -> None:
    """The library may drop one, and calls EdDSA deprecated."""
    (names, _) = get_args(IdentityConfig.model_fields["algorithms"].annotation)
    assert set(get_args(names)) == ALGORITHMS.keys()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_right_tokens_of_every_algorithm(algorithm: str) -> None:
    with warnings.catch_warnings():
        # joserfc has a warning for EdDSA.
        warnings.simplefilter("error")
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
        raw, key = base64.urlsafe_b64decode(tail + "=="), keys[algorithm][0]
        assert ALGORITHMS[algorithm].verify(data.encode(), raw, key)
        assert not ALGORITHMS[algorithm].verify(data.encode() + b"x", raw, key)


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


START, BODY = b'{"alg":"EdDSA","kid":"EdDSA"', json.dumps(GOOD).encode()
HEAD = START + b"}"
# Each is signed by the right key. But for the last two, joserfc 1.8 or PyJWT 2.15 accepts each in its usual use, or
# joserfc raises a TypeError or a RecursionError.
LENIENT: dict[str, tuple[bytes, bytes, str]] = {
    "no critical extension": (START + b',"crit":[]}', BODY, "'crit'"),
    "a critical extension that is always there": (START + b',"crit":["alg"]}', BODY, "'crit'"),
    "critical extensions are a number": (START + b',"crit":7}', BODY, "'crit'"),
    "critical extensions are null": (START + b',"crit":null}', BODY, "'crit'"),
    "algorithm twice": (b'{"alg":"none","alg":"EdDSA","kid":"EdDSA"}', BODY, "well-formed"),
    "key twice": (b'{"alg":"EdDSA","kid":"RS256","kid":"EdDSA"}', BODY, "well-formed"),
    "expiry twice": (HEAD, b'{"exp":1,' + BODY[1:], "well-formed"),
    "audience twice": (HEAD, b'{"aud":"other",' + BODY[1:], "well-formed"),
    "a name twice deeper down": (HEAD, b'{"x":{"a":1,"a":2},' + BODY[1:], "well-formed"),
    "NaN in the header": (START + b',"x":NaN}', BODY, "well-formed"),
    "NaN in the claims": (HEAD, b'{"x":NaN,' + BODY[1:], "well-formed"),
    "half a surrogate pair": (HEAD, b'{"x":"\\ud800",' + BODY[1:], "well-formed"),
    "header with a byte order mark": (b"\xef\xbb\xbf" + HEAD, BODY, "well-formed"),
    "claims with a byte order mark": (HEAD, b"\xef\xbb\xbf" + BODY, "well-formed"),
    "header in UTF-16": (HEAD.decode().encode("utf-16"), BODY, "well-formed"),
    "claims in UTF-16": (HEAD, BODY.decode().encode("utf-16"), "well-formed"),
    "header is a list": (b'["alg","kid"]', BODY, "well-formed"),
    "header is a text": (b'"alg"', BODY, "well-formed"),
    "claims nested deeply": (HEAD, b'{"x":' + b"[" * 9000, "well-formed"),
    "no key named": (b'{"alg":"EdDSA"}', BODY, "'kid'"),
    "a proof of possession": (START + b',"typ":"dpop+jwt"}', BODY, "'typ'"),
    "a logout token": (START + b',"typ":"logout+jwt"}', BODY, "'typ'"),
    "type is null": (START + b',"typ":null}', BODY, "'typ'"),
    "expires after the end of all clocks": (HEAD, json.dumps(GOOD | {"exp": 10**400}).encode(), "'exp'"),
    "expires at a number that is no time": (HEAD, json.dumps(GOOD | {"exp": 1e300}).encode(), "'exp'"),
    "expiry is a text": (HEAD, json.dumps(GOOD | {"exp": str(int(NOW + 60))}).encode(), "'exp'"),
    "not before a text": (HEAD, json.dumps(GOOD | {"nbf": "1"}).encode(), "'nbf'"),
    "not before true": (HEAD, json.dumps(GOOD | {"nbf": True}).encode(), "'nbf'"),
    "issued at true": (HEAD, json.dumps(GOOD | {"iat": True}).encode(), "'iat'"),
    "issued before the start of all clocks": (HEAD, json.dumps(GOOD | {"iat": -1e300}).encode(), "'iat'"),
    "nothing says what the payload is": (START + b',"b64":null}', BODY, "'b64'"),
    "payload is not base64url": (START + b',"b64":false}', BODY, "'b64'"),
    "expires at infinity": (HEAD, BODY.replace(b'"exp": 1800000600.0', b'"exp": 1e400'), "'exp'"),
}


@pytest.mark.parametrize("row", LENIENT)
def test_what_a_library_accepts_is_refused(row: str) -> None:
    header, payload, said = LENIENT[row]
    assert said in refusal(raw_token(header, payload))


@pytest.mark.parametrize(
    "odd", ["{0}=", "{0}==", "{0}\n", "{0}!", "{0}AAA", "{1}\n{2}", "{1}+{2}", "{1}/{2}", "{1}~{2}"]
)
def test_a_signed_part_that_is_not_strict_base64url_is_refused(odd: str) -> None:
    # One byte beyond a multiple of three: two characters of padding would be right, and four bits are left over.
    head, body = (b64(part + b" " * ((1 - len(part)) % 3)) for part in (HEAD, BODY))
    spare = chr(ord(head[-1]) + 1)
    for parts in (
        (odd.format(head, head[:8], head[8:]), body), (head, odd.format(body, body[:8], body[8:])),
        (head[:-1] + spare, body), (head, body[:-1] + spare),
    ):  # fmt: skip
        data = ".".join(parts)
        text = f"{data}.{b64(signature(private('EdDSA'), 'EdDSA', data.encode()))}"
        assert "well-formed" in refusal(text)
        assert not looks_like_token(text)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_an_ecdsa_signature_of_another_form_is_refused(algorithm: str) -> None:
    data, _, tail = token(algorithm).rpartition(".")
    raw = base64.urlsafe_b64decode(tail + "==")
    half = len(raw) // 2
    r, s = raw[:half], raw[half:]
    der = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
    for odd in (der, b"\0" + r + b"\0" + s, r + s[:-1], r + s + b"\0", s + r, bytes(2 * half), b"\xff" * 2 * half, b""):
        assert "signature" in refusal(f"{data}.{b64(odd)}")


def test_nothing_of_tokens_is_imported_before_an_issuer_is_configured(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from gateway.commands.cli import main\n"
        "sys.argv = ['gatehouse', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'joserfc' not in sys.modules\n"
        "from tests.live import running_gateway\n"
        "yaml = 'version: 1\\nproviders: {quoting: {kind: extractive}}\\nmodels: {m: {targets: [quoting/m]}}\\n'\n"
        f"with running_gateway(yaml, pathlib.Path({str(tmp_path)!r})): pass\n"
        "assert 'joserfc' not in sys.modules\n"
        "import access.callers.jwks\n"
        "assert 'joserfc' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


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

    def __init__(self, key: Key) -> None:
        self.count, self.only = 0, key

    async def key(self, kid: str, algorithm: str) -> Key:
        self.count += 1
        return self.only


def test_a_key_that_does_not_fit_is_none_whoever_hands_it_over() -> None:
    weak, other, wide = rsa.generate_private_key(65537, 1024), private("ES384"), ed448.Ed448PrivateKey.generate()
    with pytest.warns(SecurityWarning):
        short = RSAKey.import_key(weak.public_key())
    curve, edwards = ECKey.import_key(other.public_key()), OKPKey.import_key(wide.public_key())
    for algorithm, key, signer in (
        ("RS256", short, weak), ("ES256", curve, other), ("EdDSA", curve, None), ("EdDSA", edwards, wide),
    ):  # fmt: skip
        checker = TokenVerifier([(Issuer(ISSUER, OURS), Asked(key))], Clock())
        assert "'kid'" in refusal(token(algorithm, signer), checker)


def test_a_token_is_remembered_for_a_while() -> None:
    async def run() -> None:
        clock, asked = Clock(), Asked(OKPKey.import_key(private("EdDSA").public_key()))
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
        many = [token(jti=number) for number in range(CACHE_SIZE)]
        assert await counted(*many) == CACHE_SIZE
        assert await counted(many[-1], many[0]) == 0
        assert await counted(long) == 1

    asyncio.run(run())
