"""How a struct's own checks say what is wrong, and which cure they offer."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable

from pydantic_core import PydanticCustomError

WRONG = "gatehouse"
"""The type of our own errors among pydantic's."""

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
    """Text that came from a reference. `reference` may be shown, the text may not."""

    reference: str

    def __new__(cls, text: str, reference: str) -> Substituted:
        """`reference` is the scalar as the file has it, with `${...}` in it."""
        made = super().__new__(cls, text)
        made.reference = reference
        return made


def wrong(message: str, cure: str = "") -> PydanticCustomError:
    """An error for a validator to raise.

    The texts hold no value themselves: `{value}` becomes the file's value as `quote` shows it, `{text}` the same
    without quotes. A validator sees only what a reference stands for, and must not tell.
    """
    return PydanticCustomError(WRONG, "{message}", {"message": message, "cure": cure})


def quote(value: object) -> str:
    """A value for a message: short, in quotes, and never what a reference holds."""
    if isinstance(value, Substituted):
        return f"the value of {mask_looks(value.reference)}"
    text = mask_looks(str(value))
    text = text if len(text) <= 48 else f"{text[:45]}..."
    return f'"{text}"' if isinstance(value, str) else text


def bare(value: object) -> str:
    """A value for a suggestion, without quotes; dots for what must not be told."""
    return "..." if isinstance(value, Substituted) or mask_looks(str(value)) != str(value) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be; empty if none is close."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """One suggestion: the nearest of the known names, else all of them."""
    names = list(known)
    close = nearest(name, names)
    if close:
        return f"did you mean {close}?"
    return f"known here: {', '.join(names)}" if names else ""


@functools.lru_cache(maxsize=4096)
def names_a_secret(name: str) -> bool:
    """Whether a key (or a misspelling of one) announces a secret."""
    plain = name.lower().replace("-", "_")
    return any(difflib.SequenceMatcher(None, plain, each).ratio() >= 0.74 for each in SECRET_NAMES)


def mask_looks(text: str) -> str:
    """The text with everything in it that looks like a credential replaced by dots, in the same places."""
    return _SECRET_LOOKS.sub(lambda match: "•" * len(match[0]), text)
