"""Public corpora, read as texts with spans. None of them is part of this repository; the folder is named on the way in."""

from __future__ import annotations

import json
import random
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

from training.frames import Example, Span

_KINDS = {
    "PER": "PERSON", "person": "PERSON", "PERSON": "PERSON", "LOC": "LOCATION", "location": "LOCATION", "GPE": "LOCATION",
    "ORG": "ORGANISATION", "corporation": "ORGANISATION", "group": "ORGANISATION", "ORGANIZATION": "ORGANISATION",
    "STREET_ADDRESS": "ADDRESS",
}  # fmt: skip
_NO_SPACE_BEFORE = set(".,;:!?)]}%'\u2019")
HELD_OUT = 4


def column_corpus(path: Path, word: int, tag: int, separator: str | None) -> Iterator[Example]:
    """Sentences of a file with a word and a BIO tag on each line, an empty line between sentences."""
    sentence: list[tuple[str, str]] = []
    for line in path.read_text("utf-8", "replace").splitlines():
        fields = line.split(separator)
        if not line.strip() or line.startswith("#") or len(fields) <= max(word, tag):
            if sentence:
                yield _joined(sentence)
            sentence = []
            continue
        sentence.append((fields[word], fields[tag]))
        # Newspapers come without ends of sentences.
        if len(sentence) >= 60 or (len(sentence) > 12 and fields[word] == "." and tag == 1):
            yield _joined(sentence)
            sentence = []
    if sentence:
        yield _joined(sentence)


def _joined(words: list[tuple[str, str]]) -> Example:
    text = ""
    spans: list[Span] = []
    for word, tag in words:
        if text and word[0] not in _NO_SPACE_BEFORE and text[-1] not in "([{":
            text += " "
        start = len(text)
        text += word
        prefix, _, name = tag.partition("-")
        kind = (
            _KINDS.get(name.removesuffix("deriv").removesuffix("part"))
            if not name.endswith(("deriv", "part"))
            else None
        )
        if kind is None:
            continue
        if prefix == "I" and spans and spans[-1][2] == kind and start - spans[-1][1] <= 1:
            spans[-1] = (spans[-1][0], len(text), kind)
        else:
            spans.append((start, len(text), kind))
    return text, spans


def template_corpus(path: Path, *, held_out: bool) -> Iterator[Example]:
    """Sentences made from templates: every fourth template is held out, for measuring."""
    for item in json.loads(path.read_text("utf-8")):
        if (zlib.crc32(item["masked"].encode()) % HELD_OUT == 0) != held_out:
            continue
        spans = [
            (span["start_position"], span["end_position"], _KINDS[span["entity_type"]])
            for span in item["spans"]
            if span["entity_type"] in _KINDS
        ]
        yield item["full_text"], sorted(spans)


def source_code(count: int, seed: int) -> Iterator[Example]:
    """Pieces of Python's own library: much is written with capitals there, and next to nothing is personal."""
    choose = random.Random(seed)
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    made = 0
    while made < count:
        lines = choose.choice(files).read_text("utf-8", "replace").splitlines()[30:]
        if len(lines) < 20:
            continue
        start = choose.randrange(len(lines) - 10)
        text = "\n".join(lines[start : start + choose.randint(1, 8)]).strip()
        lowered = text.lower()
        if text and not any(word in lowered for word in ("author", "copyright", "@", "written by", "contributed")):
            made += 1
            yield text[:500], []
