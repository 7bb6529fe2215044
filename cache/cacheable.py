"""What must not be kept: questions about whoever asks, and about the moment in which they ask.

Rules say what is plain; a small linear model over words and pairs of words (`training/cacheable.py`) says the rest.
Both together cost some microseconds.
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
# A long message is material with a question at its end or its beginning.
_MOST_WORDS = 40
_MOST_LETTERS = 400
_WORD = re.compile(r"[\w']+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# What belongs to somebody, when it follows one of these within three words.
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


def words_of(text: str) -> list[str]:
    """The words of a question in small letters: of a long one, those of its beginning and its end."""
    if len(text) > 2 * _MOST_LETTERS:
        text = f"{text[:_MOST_LETTERS]} {text[-_MOST_LETTERS:]}"
    words = _WORD.findall(text.lower())
    return words if len(words) <= _MOST_WORDS else words[: _MOST_WORDS // 2] + words[-_MOST_WORDS // 2 :]


def features(text: str) -> list[str]:
    """Words, and pairs of words that follow each other."""
    words = words_of(text)
    return words + _pairs(words)


def _pairs(words: list[str]) -> list[str]:
    return list(map(" ".join, zip(["^", *words], words, strict=False)))


def reason_not_to_keep(question: str) -> str:
    """Why an answer to this question is nobody else's, or soon wrong; empty when it is neither."""
    words = words_of(question)
    pairs = _pairs(words)
    if not _NOW.isdisjoint(words) or not _NOW_PAIRS.isdisjoint(pairs):
        return "time-sensitive"
    if not _MINE_PAIRS.isdisjoint(pairs) or (not _POSSESSIVES.isdisjoint(words) and _possesses(words)):
        return "user-specific"
    model = _model()
    weights = model.weights
    score = model.bias + sum([weights[feature] for feature in weights.keys() & {*words, *pairs}])
    return "personal or of the moment" if score >= 0 else ""


def _possesses(words: list[str]) -> bool:
    return any(
        not _POSSESSIONS.isdisjoint(words[place + 1 : place + 1 + _REACH])
        for place, word in enumerate(words)
        if word in _POSSESSIVES
    )


def reason_not_to(request: ChatRequest) -> str:
    """The same for a request, by the words of its last user message."""
    for message in reversed(request.messages):
        if message.role == "user":
            return reason_not_to_keep(message.text)
    return ""
