"""Answers a question by quoting the sentences of the given passages that answer it best. Uses no language model.

The steps are pure functions: `read_prompt` finds the question and the passages in a conversation, `split_sentences`
splits the passages, `choose` preselects and `rank` ranks sentences, `write_answer` writes the response.
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
from gateway.providers.subjects import (
    SentenceCandidate,
    candidate,
    continues_sentence,
    is_about_another,
    prefer,
    read_subject,
)

LABEL = "(Quoted by the built-in extractive model; it is not a language model.)"
# A user's text of at least this length counts as material to quote from.
MATERIAL_CHARS = 300
# Text beyond this limit is not read, and the response says so.
MAX_MATERIAL_CHARS = 256 * 1024
MAX_QUOTES = 3
MAX_ROWS = 20
# The place of a query's rows is its SQL.
_ROWS = "SELECT "
# The number of sentences to embed, those with the highest term overlap; about 2 ms each.
MAX_COMPARED = 32

# Both tuned on the demo documents: they separate questions that the documents answer from others.
_MIN_COVERAGE = 0.3
_MIN_SCORE = 0.36
# A further quote must score at least this fraction of the best.
_NEAR_BEST = 0.85
_SIMILARITY_WEIGHT = 0.6
_HEADING_WEIGHT = 0.5
_MAX_QUOTE_CHARS = 600
# A shorter sentence (`Yes.`) is joined with the next.
_MIN_QUOTE_CHARS = 12

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*_]*\s+(?=[\"'(\[*_]*[^\W_a-z])|(?<=[\u3002\uff01\uff1f])")
_OWN_LINE = re.compile(r"\s*(?:[-*+]\s|\d+[.)]\s|\|)")
_RULE = re.compile(r"[\s|:=*_-]*$")
_LABELLED = re.compile(r"(?im)^\W*(?:question|query|q|task)\W*:\s*(.+)$")


class Prompt(msgspec.Struct, frozen=True):
    """The question and the passages to quote from. `cut` says that passages beyond the limit were dropped."""

    question: str
    passages: tuple[Passage, ...]
    cut: bool = False


class Sentence(msgspec.Struct, frozen=True):
    """One sentence, list item or table row. `heading` is the last heading above it, `after` the next sentence."""

    text: str
    heading: str
    passage: Passage
    after: str = ""

    @property
    def section(self) -> tuple[str, str]:
        """The document and the headings of the sentence."""
        place = self.passage.place
        return self.passage.source, "" if place.startswith(_ROWS) else place.rpartition("line ")[0].rstrip(", ")

    @property
    def embedded_text(self) -> str:
        """The text to embed."""
        return f"{self.heading}: {self.text}" if self.heading else self.text


class Scored(msgspec.Struct, frozen=True):
    """A sentence and its coverage (0 to 1): the rarity-weighted share of the question's terms in it and its heading."""

    sentence: Sentence
    coverage: float


class ExtractiveAnswer(msgspec.Struct, frozen=True):
    """The response in paragraphs, and the quoted passages, best first."""

    paragraphs: tuple[str, ...]
    sources: tuple[Passage, ...] = ()

    @property
    def text(self) -> str:
        """The complete response."""
        return "\n\n".join(self.paragraphs)


def read_prompt(messages: Sequence[Message]) -> Prompt:
    """The question of the last user message, and all passages: retrieved blocks, and users' long texts and documents.

    System prompts outside of retrieved blocks are instructions and are never quoted.
    """
    passages: list[Passage] = []
    question = ""
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    for index, message in enumerate(messages):
        if message.role in {"assistant", "tool"}:
            continue
        retrieved, rest = read_blocks(message.text)
        passages.extend(retrieved)
        if message.role != "user":
            continue
        passages.extend(_documents(message))
        if index == last:
            question, rest = split_question(rest)
        if len(rest) >= MATERIAL_CHARS:
            passages.append(Passage("your message", f"message {index + 1}", rest, 0.0, ""))
    return _limit_passages(question, passages)


def split_question(text: str) -> tuple[str, str]:
    """The question in a user's message, and the rest if it is long enough to be material (else "").

    In a long message the question is the text after `Question:`, or the last line that ends in a question mark,
    or the shorter of the first and last line.
    """
    text = text.strip()
    if len(text) <= MATERIAL_CHARS:
        return text, ""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    labelled = _LABELLED.findall(text)
    questions = [line for line in lines if line.endswith("?")]
    if labelled:
        question = labelled[-1].strip()
    elif questions:
        question = _SENTENCE_END.split(questions[-1])[-1]
    else:
        question = min(lines[0], lines[-1], key=len)[:MATERIAL_CHARS]
    before, _, after = text.rpartition(question)
    rest = f"{before.rstrip()}\n{after.lstrip()}".strip()
    return question, rest if len(rest) >= MATERIAL_CHARS else ""


def split_sentences(passages: Sequence[Passage]) -> list[Sentence]:
    """Sentences in order. Prose is split at full stops, a list item or table row is one, headings are dropped."""
    sentences: list[Sentence] = []
    for passage in passages:
        heading = passage.place.rpartition("line ")[0].rstrip(", ").rpartition(" > ")[2]
        pieces = list(_pieces(passage.text))
        sentences.extend(
            Sentence(piece, heading, passage, after) for piece, after in zip(pieces, [*pieces[1:], ""], strict=False)
        )
    return sentences


def choose(prompt: Prompt, sentences: Sequence[Sentence]) -> list[Scored]:
    """At most MAX_COMPARED sentences with the highest term overlap; ties in order."""
    # `long` in `how long` is not part of the subject, and answers don't contain it.
    question_terms = read_subject(prompt.question).terms or set(terms(prompt.question))
    text_terms = [set(terms(sentence.text)) for sentence in sentences]
    heading_terms = [set(terms(sentence.heading)) for sentence in sentences]
    counts = Counter(term for own in text_terms for term in own if term in question_terms)
    rarity = {term: math.log(1 + (len(text_terms) + 1) / (counts[term] + 1)) for term in question_terms}
    total = sum(rarity.values()) or 1.0
    scored = []
    for sentence, own, heading in zip(sentences, text_terms, heading_terms, strict=True):
        score = sum(rarity[term] for term in question_terms & own)
        score += _HEADING_WEIGHT * sum(rarity[term] for term in (question_terms & heading) - own)
        scored.append(Scored(sentence, score / total))
    return sorted(scored, key=lambda each: -each.coverage)[:MAX_COMPARED]


def rank(question: str, scored: Sequence[Scored], similarities: Sequence[float] | None) -> list[Sentence]:
    """The sentences to quote, best first. `similarities` are cosines to the question, or None without an embedder.

    Sentences are chosen by score; then those about exactly the question's subject are preferred.
    """
    if similarities is None:
        min_score = _MIN_COVERAGE
        ranked = [(each.coverage, each.sentence) for each in scored]
    else:
        min_score = _MIN_SCORE
        ranked = [
            (_SIMILARITY_WEIGHT * max(0.0, cosine) + (1 - _SIMILARITY_WEIGHT) * each.coverage, each.sentence)
            for each, cosine in zip(scored, similarities, strict=True)
        ]
    ranked.sort(key=lambda pair: -pair[0])
    subject = read_subject(question)
    ranked = [pair for pair in ranked if not is_about_another(subject, pair[1].text, pair[1].section)]
    min_score = max(min_score, ranked[0][0] * _NEAR_BEST if ranked else 0.0)
    candidates: list[SentenceCandidate] = [
        candidate(subject, place, score, sentence.text, sentence.section)
        for place, (score, sentence) in enumerate(ranked)
    ]
    chosen = prefer(subject, [each for each in candidates if each.score >= min_score][:MAX_QUOTES], candidates)
    return [ranked[each.place][1] for each in chosen][:MAX_QUOTES]


def write_answer(prompt: Prompt, chosen: Sequence[Sentence]) -> ExtractiveAnswer:
    """Each quote with its source, or the reason why there is none; always with the label."""
    if not prompt.question:
        return ExtractiveAnswer(("No question was asked.", LABEL))
    if not prompt.passages:
        return ExtractiveAnswer(("No passages were given, so there is nothing to quote an answer from.", LABEL))
    if chosen:
        # The rows of a query are one quote, in the query's order.
        paragraphs = list(dict.fromkeys(_quote(sentence) for sentence in chosen))
    else:
        count = len(prompt.passages)
        passages = "the passage that was given" if count == 1 else f"the {count} passages that were given"
        paragraphs = [f"Nothing in {passages} answers this question."]
    if prompt.cut:
        paragraphs.append(f"Only the first {MAX_MATERIAL_CHARS // 1024} KB of what was given were read.")
    return ExtractiveAnswer((*paragraphs, LABEL), tuple(sentence.passage for sentence in chosen))


def _quote(sentence: Sentence) -> str:
    text = sentence.text
    if sentence.passage.place.startswith(_ROWS):
        rows = list(_pieces(sentence.passage.text))
        text = "\n".join([*rows[:MAX_ROWS], *(["[...]"] if len(rows) > MAX_ROWS else [])])
    elif continues_sentence(sentence.after):
        text = f"{text} {sentence.after}"
    if len(text) > _MAX_QUOTE_CHARS:
        text = text[:_MAX_QUOTE_CHARS].rstrip() + " [...]"
    place = f", {sentence.passage.place}" if sentence.passage.place else ""
    return f'"{text}"\n[{sentence.passage.source}{place}]'


def _documents(message: Message) -> list[Passage]:
    texts = [part for part in message.parts if isinstance(part, Document) and part.text]
    return [Passage(part.name or "your document", "", part.text, 0.0, "") for part in texts]


def _limit_passages(question: str, passages: Sequence[Passage]) -> Prompt:
    included: list[Passage] = []
    left = MAX_MATERIAL_CHARS
    for passage in passages:
        if len(passage.text) > left:
            if left:
                included.append(msgspec.structs.replace(passage, text=passage.text[:left]))
            return Prompt(question, tuple(included), cut=True)
        included.append(passage)
        left -= len(passage.text)
    return Prompt(question, tuple(included))


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
            # Adds each column's header to its cell.
            yield " | ".join(f"{name}: {cell}" for name, cell in zip(columns, _cells(line), strict=False))
        elif alone:
            yield line.strip().strip("|").lstrip("-*+ ").strip()
        else:
            prose.append(line.strip())


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _prose_sentences(text: str) -> Iterator[str]:
    short = ""
    for sentence in _SENTENCE_END.split(text):
        piece = f"{short} {sentence.strip()}".strip()
        short = piece if len(piece) < _MIN_QUOTE_CHARS else ""
        if not short:
            yield piece
    if short:
        yield short
