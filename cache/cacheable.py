"""Detects questions that must not be cached: personal and time-sensitive ones.

Rules cover the clear cases, a small linear model over words and word pairs (`training/cacheable.py`) the others. Both
together take a few microseconds.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from contract.messages import ChatRequest

MODEL = Path(__file__).parent / "models" / "cacheable.json"
# A long message is mostly material, with the question at its start or end.
_MAX_WORDS = 40
_MAX_CHARACTERS = 400
_WORD = re.compile(r"[\w']+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A question is personal if one of the possessions follows a possessive within three words.
_POSSESSIVES = _set(
    """my our mein meine meinen meinem meiner meines unser unsere unseren unserem mon ma mes notre nos mi mis nuestro
    nuestra nuestros nuestras"""
)
_POSSESSIONS = _set(
    """account order invoice bill balance subscription password card contract ticket parcel package payment salary
    payslip appointment booking flight claim case profile address data konto bestellung rechnung vertrag passwort karte
    paket zahlung gehalt termin buchung compte commande facture contrat carte colis cuenta pedido factura contrato
    tarjeta"""
)
_REACH = 3
_NOW = _set(
    """today tonight tomorrow yesterday currently latest breaking weather forecast heute gestern derzeit aktuell
    aktuelle aktuellen aktueller aktuelles wetter aujourd'hui demain actuellement hoy ayer"""
) | {"m\u00e9t\u00e9o", "ma\u00f1ana"}
_NOW_PAIRS = frozenset(
    ("right now", "this morning", "this afternoon", "this evening", "this week", "this weekend", "this month",
     "this year", "next week", "next month", "last night", "last week", "live score", "exchange rate", "stock price",
     "share price", "what's new", "wie sp\u00e4t", "hier soir", "ahora mismo", "time is", "the moment")
)  # fmt: skip
_MINE_PAIRS = frozenset(("am i", "where i", "my name", "i say", "i ask", "i said", "i asked"))


class _Weights(msgspec.Struct, frozen=True):
    bias: float
    weights: dict[str, float]


@cache
def _model() -> _Weights:
    return msgspec.convert(json.loads(MODEL.read_text()), _Weights)


def split_words(text: str) -> list[str]:
    """The lower-case words of a question; of a long one only those at its start and end."""
    if len(text) > 2 * _MAX_CHARACTERS:
        text = f"{text[:_MAX_CHARACTERS]} {text[-_MAX_CHARACTERS:]}"
    words = _WORD.findall(text.lower())
    return words if len(words) <= _MAX_WORDS else words[: _MAX_WORDS // 2] + words[-_MAX_WORDS // 2 :]


def features(text: str) -> list[str]:
    """Words and pairs of adjacent words."""
    words = split_words(text)
    return words + _pairs(words)


def _pairs(words: list[str]) -> list[str]:
    return list(map(" ".join, zip(["^", *words], words, strict=False)))


def uncacheable_question(question: str) -> str:
    """Why an answer to this question must not be cached (personal or time-sensitive); empty if it may be."""
    words = split_words(question)
    pairs = _pairs(words)
    if not _NOW.isdisjoint(words) or not _NOW_PAIRS.isdisjoint(pairs):
        return "time-sensitive"
    if not _MINE_PAIRS.isdisjoint(pairs) or (not _POSSESSIVES.isdisjoint(words) and _possesses(words)):
        return "user-specific"
    model = _model()
    weights = model.weights
    score = model.bias + sum([weights[feature] for feature in weights.keys() & {*words, *pairs}])
    return "personal or time-sensitive" if score >= 0 else ""


def _possesses(words: list[str]) -> bool:
    return any(
        not _POSSESSIONS.isdisjoint(words[place + 1 : place + 1 + _REACH])
        for place, word in enumerate(words)
        if word in _POSSESSIVES
    )


def uncacheable_request(request: ChatRequest) -> str:
    """See `uncacheable_question`, for the last user message of a request."""
    for message in reversed(request.messages):
        if message.role == "user":
            return uncacheable_question(message.text)
    return ""
