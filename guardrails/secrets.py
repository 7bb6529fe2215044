"""Keys, tokens, private keys and connection strings: by the issuers' formats, and by entropy.

The rules are in `secret_rules.toml`. A text that only looks random must also follow a name such as `token` or
`password` and a sign such as `=`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import Field

from config.secret import Secret
from guardrails.span import Span, resolve
from guardrails.spans import TextGuardrail

RULES = Path(__file__).with_name("secret_rules.toml")
_KEY_BEGINS = re.compile(r"-----BEGIN[ A-Z0-9_-]{0,100}?PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END[ A-Z0-9_-]{0,100}?KEY(?: BLOCK)?-----")
_LONGEST_KEY = 20_000
_ENCODED = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{24,4000}={0,2})(?![A-Za-z0-9+/])|(?<![0-9a-fA-F])(?:[0-9a-f]{2}){16,2000}(?![0-9a-fA-F])"
)
_ASSIGNED = re.compile(
    r"(?:=>|:{1,3}=|\|\||\?=|==|[=:>,])(?=[\"'`\s=]{0,5}(?P<value>[A-Za-z0-9+/_.~-]{10,400}={0,3})(?![\w/=]))"
)
# The name before the sign, within this many characters.
_NAME_BEFORE = re.compile(r"(?P<name>[A-Za-z][\w.-]{0,60}(?:[ \t][\w.-]{1,30})?)[\"'`\])\s]{0,4}\Z")
_NAME_REACH = 90
# A long value is never a placeholder.
_LONG = 30
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLACEHOLDER = re.compile(
    r"(?i)^(?:\$|%|\{|<|os\.|process\.|env|config|self\.|settings|null|none|true|false|undefined|your|my|the|xxx|\*{3}|example|"
    r"changeme|placeholder|dummy|test|sample|insert|replace|redacted|todo|string|str|bytes|int|optional|required)|\.{3}|x{5}|\*{3}"
)
_LEAST_ENTROPY = 3.0
_LEAST_LENGTH = 8
_LEAST_ASSIGNED = 3.4


def _entropy(text: str) -> float:
    """Returns the Shannon entropy in bits per character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _is_random(value: str) -> bool:
    """Whether a value looks generated or like a password: letters with digits or symbols, and no word."""
    if _PLACEHOLDER.search(value) or len(set(value)) < 5:
        return False
    classes = sum(
        (any(c.islower() for c in value), any(c.isupper() for c in value), any(c.isdigit() for c in value),
         any(not c.isalnum() for c in value.strip("._-")))
    )  # fmt: skip
    if not any(c.isdigit() for c in value) and classes < 3:
        return False
    if re.fullmatch(r"[\d.:/-]+", value) or re.fullmatch(r"[A-Za-z_]+(?:[.(/][A-Za-z_.\d]*)+\)?", value):
        return False
    return _entropy(value) >= _LEAST_ENTROPY or (classes >= 3 and len(value) >= 8)


def _looks_generated(value: str) -> bool:
    """Whether a value is probably not written by hand: letters and digits are mixed, the more the shorter it is."""
    if value.count("/") >= 2 or value.startswith(("/", "-", ".")) or ".so" in value:
        return False
    changes = sum(a.isdigit() != b.isdigit() for a, b in itertools.pairwise(value))
    return changes >= 3 and _entropy(value) >= min(_LEAST_ASSIGNED, math.log2(len(value)) - 0.6)


def _is_mixed(value: str) -> bool:
    """Whether letters and digits are mixed as in no word, path or date."""
    changes = sum(a.isdigit() != b.isdigit() for a, b in itertools.pairwise(value))
    return changes >= 3 and value.count("/") < 2 and any(letter.isalpha() for letter in value)


class SecretsConfig(TextGuardrail):
    """Keys, tokens, private keys, connection strings; masked ones can't be restored."""

    kind: Literal["secrets"] = Field(description="Keys, tokens, private keys, connection strings.")
    own: tuple[Secret, ...] = Field(default=(), description="Your own secrets, to be found in any text.")

    def finder(self) -> SecretFinder:
        """See `TextGuardrail.finder`."""
        return SecretFinder([secret.reveal() for secret in self.own])


class IssuedForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The format of an issuer's keys, from `secret_rules.toml`, which explains the fields."""

    has: tuple[str, ...]
    form: str
    random: bool = False


class PlacedForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A context that contains a secret, from `secret_rules.toml`, which explains the fields."""

    form: str
    when: str = ""
    random: bool = False
    whole: bool = False
    kind: str = "named_secret"
    score: float = 0.8


class AssignedNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names before a sign such as `=`, from `secret_rules.toml`."""

    services: tuple[str, ...]
    harmless: tuple[str, ...]


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `secret_rules.toml`."""

    issued: dict[str, IssuedForm]
    placed: dict[str, PlacedForm]
    assigned: AssignedNames


class Rules:
    """The rules of the file, compiled."""

    def __init__(self, file: RuleFile) -> None:
        self.issued = [
            (name, rule, re.compile(rf"(?<![A-Za-z0-9_-])(?:{rule.form})(?![A-Za-z0-9])"))
            for name, rule in file.issued.items()
        ]
        # Patterns by their condition, which is then searched once.
        self.placed: dict[re.Pattern[str], list[tuple[PlacedForm, re.Pattern[str]]]] = {}
        for rule in file.placed.values():
            self.placed.setdefault(re.compile(rule.when), []).append((rule, re.compile(rule.form)))
        self._services = re.compile(f"(?i){'|'.join(file.assigned.services)}")
        self._harmless = re.compile(f"(?i){'|'.join(file.assigned.harmless)}")

    def is_assigned_secret(self, text: str, match: re.Match[str]) -> bool:
        """Whether the value after a sign is a secret, by its format and by the name before the sign."""
        value = match["value"]
        if not any(letter.isdigit() for letter in value):
            return False
        before = _NAME_BEFORE.search(text, max(0, match.start() - _NAME_REACH), match.start())
        if before is None or self._harmless.search(before["name"]) is not None:
            return False
        if _is_random(value) and len(value) >= 14 and _looks_generated(value):
            return True
        if self._services.search(before["name"]) is None or (len(value) < _LONG and _PLACEHOLDER.search(value)):
            return False
        if value.isdigit():
            return 14 <= len(value) <= 24
        return _UUID.fullmatch(value) is not None or (_is_mixed(value) and _entropy(value) >= _LEAST_ENTROPY)


@functools.cache
def rules() -> Rules:
    """Loads the rules, with the first finder: checking a configuration does not need them."""
    return Rules(msgspec.toml.decode(RULES.read_bytes(), type=RuleFile))


class SecretFinder:
    """Finds secrets. `own`: the company's own secrets, of which only keyed hashes are stored."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        self._rules = rules()
        self._salt = hashlib.blake2b(b"own secrets").digest()
        words = [word for word in own if word]
        self._own = {self._hash(word) for word in words}
        self._lengths = sorted({len(word) for word in words})
        self._own_token = re.compile(r"[^\s\"'`,;<>(){}\[\]]{4,300}") if words else None

    def _hash(self, word: str) -> bytes:
        return hmac.digest(self._salt, word.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def find(self, text: str) -> list[Span]:
        """Returns spans whose kind is the rule's name; for a secret in base64 or hex, the encoded text."""
        spans = list(self._plain(text))
        for match in _ENCODED.finditer(text):
            decoded = _decoded(match[0])
            if decoded and any(True for _ in self._issued(decoded)):
                spans.append(Span(match.start(), match.end(), "encoded_secret"))
        return resolve(spans)

    def _plain(self, text: str) -> Iterable[Span]:
        yield from self._issued(text)
        for when, forms in self._rules.placed.items():
            if when.search(text) is not None:
                for rule, form in forms:
                    yield from _placed(text, rule, form)
        for match in _ASSIGNED.finditer(text):
            if self._rules.is_assigned_secret(text, match):
                yield Span(*match.span("value"), "assigned_secret", 0.7)
        yield from self._own_secrets(text)

    def _own_secrets(self, text: str) -> Iterable[Span]:
        for match in self._own_token.finditer(text) if self._own_token is not None else ():
            word = match[0]
            for length in self._lengths:
                for start in range(len(word) - length + 1):
                    if self._hash(word[start : start + length]) in self._own:
                        yield Span(match.start() + start, match.start() + start + length, "own_secret")

    def _issued(self, text: str) -> Iterable[Span]:
        for name, rule, form in self._rules.issued:
            if not any(part in text for part in rule.has):
                continue
            for match in form.finditer(text):
                if not rule.random or _is_random(match[0]):
                    yield Span(match.start(), match.end(), name)
        if "PRIVATE KEY" in text:
            place = 0
            while (begins := _KEY_BEGINS.search(text, place)) is not None:
                ends = _KEY_ENDS.search(text, begins.end(), begins.end() + _LONGEST_KEY)
                # A key without an end extends to the limit.
                place = ends.end() if ends is not None else min(len(text), begins.end() + _LONGEST_KEY)
                yield Span(begins.start(), place, "private_key")


def _placed(text: str, rule: PlacedForm, form: re.Pattern[str]) -> Iterable[Span]:
    for match in form.finditer(text):
        name = match.lastgroup or "value"
        value, start = match[name], match.start(name)
        if rule.random:
            # Punctuation at the end is not part of the value.
            value = value.rstrip(".:!?")
        if _is_random(value) and len(value) >= _LEAST_LENGTH if rule.random else not _PLACEHOLDER.search(value):
            span = match.span() if rule.whole else (start, start + len(value))
            yield Span(*span, rule.kind, rule.score)


def _decoded(code: str) -> str:
    """Decodes base64 or hex; empty if the result is not text."""
    try:
        if re.fullmatch(r"(?:[0-9a-f]{2})+", code):
            raw = bytes.fromhex(code)
        else:
            raw = base64.b64decode(code.translate(_URL_SAFE) + "=" * (-len(code.rstrip("=")) % 4), validate=False)
        text = raw.decode("ascii")
    except (ValueError, binascii.Error):
        return ""
    return text if text.isprintable() or "\n" in text else ""


_URL_SAFE = str.maketrans("-_", "+/")
