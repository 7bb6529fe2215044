"""Answers a question by quoting: finds the sentences of the given passages that answer it best. No language model.

The steps are pure: `read_prompt` finds the question and the passages in a conversation, `split_sentences` cuts them,
`choose` ranks, `write_answer` writes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from contract.context_block import read_blocks
from contract.messages import Document, Message
from contract.passages import Passage
from contract.terms import terms
from gateway.providers.subjects import SentenceCandidate, candidate, continues_sentence, of_another, prefer, subject_of

LABEL = "(Quoted by the built-in extractive model; it is not a language model.)"
# Words of a user beyond this length are taken to be material to quote from.
MATERIAL_CHARS = 300
# What lies beyond is not read, and the answer says so.
MAX_MATERIAL_CHARS = 256 * 1024
MAX_QUOTES = 3
MAX_ROWS = 20
# Where the rows of a query come from is its SQL.
_ROWS = "SELECT "
# So many sentences, those nearest in words, are compared by meaning; about 2 ms each.
MAX_COMPARED = 32

# Both found on the demo documents: questions that they answer lie above, others below.
_LEAST_COVERAGE = 0.3
_LEAST_SCORE = 0.36
# A further quote must come near the best.
_NEAR_BEST = 0.85
_SIMILARITY_WEIGHT = 0.6
_HEADING_WEIGHT = 0.5
_LONGEST_QUOTE_CHARS = 600
# A shorter sentence (`Yes.`) says nothing without the next.
_SHORTEST_QUOTE_CHARS = 12

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*_]*\s+(?=[\"'(\[*_]*[^\W_a-z])|(?<=[\u3002\uff01\uff1f])")
_OWN_LINE = re.compile(r"\s*(?:[-*+]\s|\d+[.)]\s|\|)")
_RULE = re.compile(r"[\s|:=*_-]*$")
_LABELLED = re.compile(r"(?im)^\W*(?:question|query|q|task)\W*:\s*(.+)$")


class Prompt(msgspec.Struct, frozen=True):
    """What is asked, and what there is to quote from. `cut` says that there was more than is read."""

    question: str
    passages: tuple[Passage, ...]
    cut: bool = False


class Sentence(msgspec.Struct, frozen=True):
    """One sentence, list item or table row. `heading` is the last heading above it, `after` the sentence after it."""

    text: str
    heading: str
    passage: Passage
    after: str = ""

    @property
    def section(self) -> tuple[str, str]:
        """The document and the headings that it stands under."""
        place = self.passage.place
        return self.passage.source, "" if place.startswith(_ROWS) else place.rpartition("line ")[0].rstrip(", ")

    @property
    def compared(self) -> str:
        """What is embedded."""
        return f"{self.heading}: {self.text}" if self.heading else self.text


class Scored(msgspec.Struct, frozen=True):
    """A sentence with the part of the question's words, weighed by rarity, that it and its heading hold (0 to 1)."""

    sentence: Sentence
    coverage: float


class ExtractiveAnswer(msgspec.Struct, frozen=True):
    """The answer as it is sent, in paragraphs, and the passages quoted, best first."""

    paragraphs: tuple[str, ...]
    sources: tuple[Passage, ...] = ()

    @property
    def text(self) -> str:
        """The whole answer."""
        return "\n\n".join(self.paragraphs)


def read_prompt(messages: Sequence[Message]) -> Prompt:
    """The last user message's question, and every passage: retrieved blocks, and long texts and documents of users.

    System prompts outside such blocks are instructions and are never quoted.
    """
    passages: list[Passage] = []
    question = ""
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    for index, message in enumerate(messages):
        if message.role in {"assistant", "tool"}:
            continue
        found, rest = read_blocks(message.text)
        passages.extend(found)
        if message.role != "user":
            continue
        passages.extend(_documents(message))
        if index == last:
            question, rest = split_question(rest)
        if len(rest) >= MATERIAL_CHARS:
            passages.append(Passage("your message", f"message {index + 1}", rest, 0.0, ""))
    return _limited(question, passages)


def split_question(text: str) -> tuple[str, str]:
    """The question in a user's message, and the rest when there is enough of it to be material (else "").

    In a long message the question is what follows `Question:`, or its last line that ends in a question mark,
    or its first or last line, whichever is shorter.
    """
    text = text.strip()
    if len(text) <= MATERIAL_CHARS:
        return text, ""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    labelled = _LABELLED.findall(text)
    asked = [line for line in lines if line.endswith("?")]
    if labelled:
        question = labelled[-1].strip()
    elif asked:
        question = _SENTENCE_END.split(asked[-1])[-1]
    else:
        question = min(lines[0], lines[-1], key=len)[:MATERIAL_CHARS]
    before, _, after = text.rpartition(question)
    rest = f"{before.rstrip()}\n{after.lstrip()}".strip()
    return question, rest if len(rest) >= MATERIAL_CHARS else ""


def split_sentences(passages: Sequence[Passage]) -> list[Sentence]:
    """Sentences in order: prose is cut at its full stops, a list item or table row is one, headings are left out."""
    sentences: list[Sentence] = []
    for passage in passages:
        heading = passage.place.rpartition("line ")[0].rstrip(", ").rpartition(" > ")[2]
        pieces = list(_pieces(passage.text))
        sentences.extend(
            Sentence(piece, heading, passage, after) for piece, after in zip(pieces, [*pieces[1:], ""], strict=False)
        )
    return sentences


def choose(prompt: Prompt, sentences: Sequence[Sentence]) -> list[Scored]:
    """The sentences that are worth a closer look, at most MAX_COMPARED: the nearest in words, then in order."""
    # `long` of `how long` says nothing of the matter, and stands in no answer.
    asked = subject_of(prompt.question).things or set(terms(prompt.question))
    held = [set(terms(sentence.text)) for sentence in sentences]
    headed = [set(terms(sentence.heading)) for sentence in sentences]
    among = Counter(term for words in held for term in words if term in asked)
    rarity = {term: math.log(1 + (len(held) + 1) / (among[term] + 1)) for term in asked}
    total = sum(rarity.values()) or 1.0
    scored = []
    for sentence, words, heading in zip(sentences, held, headed, strict=True):
        score = sum(rarity[term] for term in asked & words)
        score += _HEADING_WEIGHT * sum(rarity[term] for term in (asked & heading) - words)
        scored.append(Scored(sentence, score / total))
    return sorted(scored, key=lambda found: -found.coverage)[:MAX_COMPARED]


def rank(question: str, scored: Sequence[Scored], similarities: Sequence[float] | None) -> list[Sentence]:
    """The sentences to quote, best first. `similarities` are cosines to the question, or None without an embedder.

    They are chosen by their scores; then those that speak of the very thing that is asked for are preferred.
    """
    if similarities is None:
        least = _LEAST_COVERAGE
        found = [(each.coverage, each.sentence) for each in scored]
    else:
        least = _LEAST_SCORE
        found = [
            (_SIMILARITY_WEIGHT * max(0.0, cosine) + (1 - _SIMILARITY_WEIGHT) * each.coverage, each.sentence)
            for each, cosine in zip(scored, similarities, strict=True)
        ]
    found.sort(key=lambda pair: -pair[0])
    subject = subject_of(question)
    found = [pair for pair in found if not of_another(subject, pair[1].text, pair[1].section)]
    least = max(least, found[0][0] * _NEAR_BEST if found else 0.0)
    among: list[SentenceCandidate] = [
        candidate(subject, place, score, sentence.text, sentence.section)
        for place, (score, sentence) in enumerate(found)
    ]
    chosen = prefer(subject, [each for each in among if each.score >= least][:MAX_QUOTES], among)
    return [found[each.place][1] for each in chosen][:MAX_QUOTES]


def write_answer(prompt: Prompt, chosen: Sequence[Sentence]) -> ExtractiveAnswer:
    """Each quote with its source, or plainly why there is none; always with the label."""
    if not prompt.question:
        return ExtractiveAnswer(("No question was asked.", LABEL))
    if not prompt.passages:
        return ExtractiveAnswer(("No passages were given, so there is nothing to quote an answer from.", LABEL))
    if chosen:
        # The rows that a query gave are one answer, in its order.
        paragraphs = list(dict.fromkeys(_quote(sentence) for sentence in chosen))
    else:
        count = len(prompt.passages)
        given = "the passage that was given" if count == 1 else f"the {count} passages that were given"
        paragraphs = [f"Nothing in {given} answers this question."]
    if prompt.cut:
        paragraphs.append(f"Only the first {MAX_MATERIAL_CHARS // 1024} KB of what was given were read.")
    return ExtractiveAnswer((*paragraphs, LABEL), tuple(sentence.passage for sentence in chosen))


def _quote(sentence: Sentence) -> str:
    words = sentence.text
    if sentence.passage.place.startswith(_ROWS):
        rows = list(_pieces(sentence.passage.text))
        words = "\n".join([*rows[:MAX_ROWS], *(["[...]"] if len(rows) > MAX_ROWS else [])])
    elif continues_sentence(sentence.after):
        words = f"{words} {sentence.after}"
    if len(words) > _LONGEST_QUOTE_CHARS:
        words = words[:_LONGEST_QUOTE_CHARS].rstrip() + " [...]"
    place = f", {sentence.passage.place}" if sentence.passage.place else ""
    return f'"{words}"\n[{sentence.passage.source}{place}]'


def _documents(message: Message) -> list[Passage]:
    texts = [part for part in message.parts if isinstance(part, Document) and part.text]
    return [Passage(part.name or "your document", "", part.text, 0.0, "") for part in texts]


def _limited(question: str, passages: Sequence[Passage]) -> Prompt:
    kept: list[Passage] = []
    left = MAX_MATERIAL_CHARS
    for passage in passages:
        if len(passage.text) > left:
            if left:
                kept.append(msgspec.structs.replace(passage, text=passage.text[:left]))
            return Prompt(question, tuple(kept), cut=True)
        kept.append(passage)
        left -= len(passage.text)
    return Prompt(question, tuple(kept))


def _pieces(text: str) -> Iterator[str]:
    prose: list[str] = []
    columns: list[str] = []
    lines = [*text.split("\n"), "", "", ""]
    for line, rule, row in zip(lines, lines[1:], lines[2:], strict=False):
        alone = _OWN_LINE.match(line)
        if not line.startswith("|"):
            columns = []
        elif rule.startswith("|") and _RULE.match(rule) and row.startswith("|"):
            columns = _cells(line)
            continue
        if prose and (alone or not line.strip() or line.startswith("#")):
            yield from _prose_sentences(" ".join(prose))
            prose = []
        if _RULE.match(line) or line.startswith("#"):
            continue
        if alone and columns:
            # What a cell means stands above it.
            yield " | ".join(f"{name}: {cell}" for name, cell in zip(columns, _cells(line), strict=False))
        elif alone:
            yield line.strip().strip("|").lstrip("-*+ ").strip()
        else:
            prose.append(line.strip())


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _prose_sentences(text: str) -> Iterator[str]:
    short = ""
    for found in _SENTENCE_END.split(text):
        piece = f"{short} {found.strip()}".strip()
        short = piece if len(piece) < _SHORTEST_QUOTE_CHARS else ""
        if not short:
            yield piece
    if short:
        yield short
