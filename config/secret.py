"""Secrets: stored as text, shown masked."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from config.findings import wrong

_HASHED = "sha256:"
# `$NAME`, `%NAME%`, `{{ secrets.NAME }}`, `env:NAME`.
_FOREIGN = re.compile(
    r"\$[A-Z][A-Z0-9_]{2,}|%[A-Z][A-Z0-9_]{2,}%|\$?\{\{\s*[\w.]+\s*\}\}|(?:process\.env\.|env:|ENV:)[A-Za-z_]\w*"
)


def mask(text: str) -> str:
    """`••••` and the last 4 characters; the dots alone when the text is shorter than 12."""
    return f"••••{text[-4:]}" if len(text) >= 12 else "••••"


class Secret:
    """A credential. Printing it in any way shows the mask; only `reveal` returns the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def digest(self) -> str:
        """SHA-256 of the text in hex; for a hashed secret (`sha256:<hex>`), that hash."""
        if self._text.startswith(_HASHED):
            return self._text.removeprefix(_HASHED)
        return hash_key(self._text)

    def __str__(self) -> str:
        return mask(self._text)

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads text, writes the mask."""
        return core_schema.no_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A string; the examples show editors that it should be a reference."""
        return {"type": "string", "minLength": 1, "examples": ["${OPENAI_API_KEY}", "${file:/run/secrets/openai}"]}


def hash_key(key: str) -> str:
    """SHA-256 of a key, 64 hex digits. Meant for long random keys: there is no salt, so a short one can be guessed."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_hashed(secret: Secret) -> Secret:
    """Returns the secret. Raises a config error if it starts with `sha256:` but is not a hash."""
    text = secret.reveal()
    if text.startswith(_HASHED) and re.fullmatch(r"[0-9a-f]{64}", text.removeprefix(_HASHED)) is None:
        raise wrong("a hashed key is sha256: and 64 hex digits", "print it with: gatehouse keys hash")
    return secret


def _read(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise wrong("a secret must be text", 'write a reference such as "${OPENAI_API_KEY}", in quotes')
    if not value:
        raise wrong("the secret is empty", 'write a reference such as "${OPENAI_API_KEY}"')
    if value != value.strip() or not value.isascii() or not value.isprintable():
        # The secret is sent in an HTTP header; a newline in it would be refused, or worse, split the header.
        raise wrong(
            "the secret contains a character that an HTTP header can't have",
            "remove spaces, line ends and curly quotes",
        )
    if _FOREIGN.fullmatch(value) is not None:
        raise wrong("this is a reference of a shell or a template, not of this file", 'write it as "${NAME}"')
    return Secret(str(value))


def _api_key(secret: Secret) -> Secret:
    text = secret.reveal()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        raise wrong("the key contains its quotes", "remove the quotes in the environment variable or the file")
    if text.lower().startswith("bearer "):
        raise wrong("the key begins with Bearer, which Gatehouse adds", "write only the key")
    return secret


ApiKey = Annotated[Secret, AfterValidator(_api_key)]
"""An API key of a provider, as the provider's console shows it."""


def at_least(length: int) -> AfterValidator:
    """Returns a validator that refuses secrets of fewer characters, because they can be guessed."""

    def check(secret: Secret) -> Secret:
        if len(secret.reveal()) < length:
            raise wrong(
                "the secret is too short: it could be guessed",
                f"use {length} characters or more: openssl rand -hex 32",
            )
        return secret

    return AfterValidator(check)


def _address(secret: Secret) -> Secret:
    if re.match(r"https?://[^/\s@]+(?:/\S*)?\Z", secret.reveal()) is None:
        raise wrong("this is not an http or https URL", "write it like https://hooks.example.com/...")
    return secret


SecretUrl = Annotated[Secret, AfterValidator(_address)]
"""An http or https URL whose path or query is a credential, such as a webhook's."""


def masked(options: Any) -> Any:
    """The options with masked webhook URLs, which are credentials."""
    if isinstance(options, dict):
        return {name: mask(str(each)) if name == "webhook" else masked(each) for name, each in options.items()}
    return [masked(each) for each in options] if isinstance(options, list) else options
