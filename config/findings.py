"""Errors of a struct's own checks, with a suggested cure."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable

from pydantic_core import PydanticCustomError

WRONG = "gatehouse"
"""The type of Gatehouse's own errors among pydantic's."""

SECRET_NAMES = (
    "api_key", "api_keys", "key", "keys", "authorization", "token", "secret", "secrets", "password", "headers",
)  # fmt: skip
_SECRET_LOOKS = re.compile(
    r"""\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|glpat|github_pat|ya29)[-_.][\w.-]{8,}
      | \bAIza[\w-]{16,} | \bAKIA[A-Z0-9]{12,}
      | (?<=[Bb]earer\s)[\w.~+/=-]{6,}
      | \b(?=[\w+=-]*[0-9])(?=[\w+=-]*[a-z])(?=[\w+=-]*[A-Z])[\w+=-]{32,}""",
    re.VERBOSE,
)


class Substituted(str):
    """Text from a reference. Messages may show `reference`, but not the text."""

    reference: str

    def __new__(cls, text: str, reference: str) -> Substituted:
        """`reference` is the scalar as the file has it, with `${...}` in it."""
        instance = super().__new__(cls, text)
        instance.reference = reference
        return instance


def wrong(message: str, cure: str = "") -> PydanticCustomError:
    """Returns an error for a validator to raise.

    The texts must not contain the value: `{value}` is replaced by the file's value as `quote` shows it, `{text}` by
    the same without quotes. A validator gets the resolved value of a reference, which may be secret.
    """
    return PydanticCustomError(WRONG, "{message}", {"message": message, "cure": cure})


def quote(value: object) -> str:
    """A value for a message: short, in quotes, and never the value of a reference."""
    if isinstance(value, Substituted):
        return f"the value of {mask_looks(value.reference)}"
    text = mask_looks(str(value))
    text = text if len(text) <= 48 else f"{text[:45]}..."
    return f'"{text}"' if isinstance(value, str) else text


def bare(value: object) -> str:
    """A value for a suggestion, without quotes; `...` if it may be secret."""
    return "..." if isinstance(value, Substituted) or mask_looks(str(value)) != str(value) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar to `name`; empty if none is close."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion: the nearest of the known names, else all of them."""
    names = list(known)
    close = nearest(name, names)
    if close:
        return f"did you mean {close}?"
    return f"use one of: {', '.join(names)}" if names else ""


@functools.lru_cache(maxsize=4096)
def names_a_secret(name: str) -> bool:
    """Whether a key, or a misspelling of it, is the name of a secret."""
    plain = name.lower().replace("-", "_")
    return any(difflib.SequenceMatcher(None, plain, each).ratio() >= 0.74 for each in SECRET_NAMES)


def mask_looks(text: str) -> str:
    """The text with dots for each character of what looks like a credential."""
    return _SECRET_LOOKS.sub(lambda match: "•" * len(match[0]), text)
