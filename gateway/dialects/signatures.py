"""Signatures of thoughts that pass through a dialect of another vendor than the one who made them.

They come back with the conversation's next turn, which another target may answer: a vendor refuses signatures that it
has not made. So one that leaves in a foreign dialect says whose it is.
"""

from __future__ import annotations

import base64
import binascii

_VENDORS = ("anthropic", "gemini")
# As long a part of `gatehouse:` as base64 writes without what follows.
_SEALED = "Z2F0ZWhvdXNl"
_MARK = "gatehouse:"
_KINDS = {"redacted": "anthropic"}


def mark(signature: str, signed_by: str, own: str) -> str:
    """The signature for a place that is the dialect `own`'s."""
    return signature if not signature or signed_by in ("", own) else f"{signed_by}:{signature}"


def split(text: str, own: str) -> tuple[str, str]:
    """Whose it is, and the signature as it was made; the inverse of `mark`."""
    vendor, colon, signature = text.partition(":")
    return (vendor, signature) if colon and vendor in _VENDORS else (own if text else "", text)


def seal(signature: str, kind: str) -> str:
    """The same for places of Gemini's, which hold base64: `kind` is a dialect, or `redacted` for sealed thoughts."""
    return base64.b64encode(f"{_MARK}{kind}:{signature}".encode()).decode("ascii")


def unseal(text: str) -> tuple[str, str]:
    """(kind, signature) of what `seal` has made; `gemini` and the text itself for all else. Either alphabet will do."""
    if text.startswith(_SEALED):
        try:
            plain = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "gemini", text
        kind, colon, signature = plain.removeprefix(_MARK).partition(":")
        if plain.startswith(_MARK) and colon and kind in (*_VENDORS, *_KINDS):
            return kind, signature
    return "gemini" if text else "", text
