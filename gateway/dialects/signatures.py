"""Signatures of reasoning that pass through another vendor's dialect.

The caller sends them back with the next turn, which another target may serve, and a vendor rejects signatures that it
did not create. So a signature in a foreign dialect is tagged with its vendor.
"""

from __future__ import annotations

import base64
import binascii

_VENDORS = ("anthropic", "gemini")
# The prefix of `gatehouse:` in base64 that does not depend on the text after it.
_SEALED_PREFIX = "Z2F0ZWhvdXNl"
_TAG = "gatehouse:"
_KINDS = {"redacted": "anthropic"}


def tag(signature: str, signed_by: str, own: str) -> str:
    """The signature, tagged unless it is of the dialect `own`."""
    return signature if not signature or signed_by in ("", own) else f"{signed_by}:{signature}"


def split_tag(text: str, own: str) -> tuple[str, str]:
    """(vendor, original signature); the inverse of `tag`."""
    vendor, colon, signature = text.partition(":")
    return (vendor, signature) if colon and vendor in _VENDORS else (own if text else "", text)


def seal(signature: str, kind: str) -> str:
    """`tag` for Gemini's base64 fields. `kind` is a dialect, or `redacted` for redacted reasoning."""
    return base64.b64encode(f"{_TAG}{kind}:{signature}".encode()).decode("ascii")


def unseal(text: str) -> tuple[str, str]:
    """(kind, signature) of a result of `seal`; else `gemini` and the text. Accepts both base64 alphabets."""
    if text.startswith(_SEALED_PREFIX):
        try:
            plain = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "gemini", text
        kind, colon, signature = plain.removeprefix(_TAG).partition(":")
        if plain.startswith(_TAG) and colon and kind in (*_VENDORS, *_KINDS):
            return kind, signature
    return "gemini" if text else "", text
