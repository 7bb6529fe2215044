"""A guardrail made of a classifier: what a text as a whole is, judged by the embedding that all heads share."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from contract.context_block import read_blocks
from contract.work import WorkPool, caller_of
from guardrails.heads import Head, Vectors
from guardrails.injection import REMOVED, SIZE, InjectionFinder, features
from guardrails.judges.grounds import SENTENCE, sentences
from guardrails.judges.guard import Judgement
from guardrails.personal.patterns import Span, Taken
from guardrails.slices import Slicer
from guardrails.words_of import Author, rewrite

if TYPE_CHECKING:
    from contract.deltas import FinishReason
    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import Again
    from contract.messages import ChatRequest
    from guardrails.judges.attack import AttackJudge
    from guardrails.verdict import Policy

_REMEMBERED = 4096
_INLINE_CHARACTERS = 4000


class Classifier(Protocol):
    """Judges texts."""

    async def rules(self, text: str, again: Again | None = None, caller: str = "") -> list[str]:
        """What is wrong with the text; empty for most. `again` asks a model, for those that do.

        `caller` is whose turn long work takes.

        Raises what the embedder raises, and what the model's targets raise.
        """
        ...


class ClassifierGuard:
    """Judges the texts of a request.

    `last_only` looks at the user's last message alone, as for its topic; `passages` at what was retrieved as well.
    """

    def __init__(
        self,
        classifier: Classifier,
        policy: Policy,
        authors: frozenset[Author],
        *,
        last_only: bool = False,
        passages: bool = False,
    ) -> None:
        self.policy = policy
        self._classifier = classifier
        self._authors = authors
        self._last_only = last_only
        self._passages = passages
        # Earlier turns come again with every request: they are judged once.
        self._judged: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: Again | None = None
    ) -> ChatRequest:
        """The request, if it may go on. Raises `ContentBlocked`, `StockAnswer` or `GuardrailBroken`."""
        if stage == "context" and self._last_only:
            return request
        texts = self._texts(request)
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                caller = caller_of(exchange)
                found = [rule for text in texts for rule in await self._rules(text, again, caller)]
        except Exception as error:
            self.policy.failed(error, stage, exchange, sum(map(len, texts)))
            return request
        if found:
            self.policy.decide(Counter(found), stage, exchange)
        return request

    def _texts(self, request: ChatRequest) -> list[str]:
        if self._last_only:
            asked = [message.text for message in request.messages if message.role == "user" and message.text.strip()]
            return asked[-1:]
        texts: dict[str, None] = {}

        def note(text: str, author: Author) -> str:
            if author in self._authors:
                # Retrieved passages are nobody's words; what is said of them is another guardrail's.
                texts[text if self._passages else read_blocks(text)[1]] = None
            return text

        rewrite(request, note)
        return [text for text in texts if text.strip()]

    async def _rules(self, text: str, again: Again | None, caller: str) -> tuple[str, ...]:
        key = hash(text)
        known = self._judged.get(key)
        if known is None:
            known = self._judged[key] = tuple(await self._classifier.rules(text, again, caller))
            if len(self._judged) > _REMEMBERED:
                self._judged.popitem(last=False)
        return known


class ToxicityClassifier:
    """A head over a text's embedding. Classifies texts, and judges answers."""

    name = "toxicity"

    def __init__(self, threshold: float, head: Head, vectors: Vectors) -> None:
        """`threshold` from 0 to 1: at 0.5 about one in twenty harmless remarks of any tone is flagged."""
        self._threshold = threshold
        self._head = head
        self._vectors = vectors

    async def rules(self, text: str, again: Again | None = None, caller: str = "") -> list[str]:
        """See `Classifier.rules`."""
        scores = [self._head.score(vector) for vector in await self._vectors.of(text)]
        return ["toxicity"] if max(scores, default=0.0) >= self._threshold else []

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: Again, caller: str = ""
    ) -> Judgement:
        """See `guardrails.judges.guard.Judge.judge`: sentence by sentence, for one is enough."""
        for sentence in sentences(text):
            if await self.rules(sentence):
                return Judgement("it insults or threatens somebody")
        return Judgement()


class InjectionClassifier:
    """Rules over every reading of a text, and a head over its embedding that has learned from both."""

    def __init__(
        self,
        threshold: float,
        head: Head,
        vectors: Vectors,
        judge: AttackJudge | None = None,
        grey: tuple[float, float] = (0.0, 0.0),
        slicer: Slicer | None = None,
    ) -> None:
        """`threshold` from 0 to 1: at 0.5 about one in a hundred ordinary prompts is flagged.

        Scores in `grey` are decided by `judge`; `slicer` reads what is too long for the event loop.
        """
        self._slicer = slicer or Slicer(WorkPool("searches"), SIZE)
        self._judge = judge
        self._grey = grey
        self._finder = InjectionFinder(0.0)
        self._threshold = threshold
        self._head = head
        self._vectors = vectors

    async def rules(self, text: str, again: Again | None = None, caller: str = "") -> list[str]:
        """See `Classifier.rules`: the rules that hit, or `likeness` for what only the head saw."""
        spans = await self._spans(text, caller)
        return (
            (sorted({span.kind for span in spans}) or ["likeness"]) if await self._is_attack(text, spans, again) else []
        )

    async def cleaned(self, text: str, again: Again | None = None, caller: str = "") -> str | None:
        """See `guardrails.outside.Cleaner`: without the sentences that hold an order."""
        spans = await self._spans(text, caller)
        # Data is not talk: what only resembles an attack is left, unless a rule says so too.
        if max((span.score for span in spans), default=0.0) < self._threshold or not await self._is_attack(
            text, spans, again
        ):
            return None
        return _without(text, spans)

    async def _spans(self, text: str, caller: str) -> list[Span]:
        if len(text) <= _INLINE_CHARACTERS:
            return self._finder.find_in_part(text)
        return (await self._slicer.find(caller, self._finder.find_in_part, [text])).get(text, [])

    async def _is_attack(self, text: str, spans: list[Span], again: Again | None) -> bool:
        ruled = features(spans)
        scores = [self._head.score([*vector, *ruled]) for vector in await self._vectors.of(text)]
        score = max(scores, default=0.0)
        if self._judge is not None and again is not None and self._grey[0] <= score < self._grey[1]:
            return await self._judge.is_attack(text, again)
        # What rules alone are sure of needs no second opinion.
        return score >= self._threshold or ruled[0] >= max(0.8, self._threshold)


def _without(text: str, spans: Sequence[Span]) -> str:
    """The text without the sentences that hold a span. What is one long word, as base64 is, goes alone."""
    words = [span for span in spans if _is_one_word(text, span)]
    orders = Taken(sorted(span for span in spans if not _is_one_word(text, span)))
    cuts = [match.span() for match in SENTENCE.finditer(text) if not orders.is_free(*match.span())]
    cuts += [(span.start, span.end) for span in words]
    parts: list[str] = []
    place = 0
    for start, end in sorted(cuts):
        if start >= place:
            parts += [text[place:start], REMOVED]
        place = max(place, end)
    return "".join([*parts, text[place:]])


def _is_one_word(text: str, span: Span) -> bool:
    word = text[span.start : span.end]
    return len(word) >= _LONG_WORD and len(word.split()) == 1


_LONG_WORD = 16
