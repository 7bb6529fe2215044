"""The cache phase of one pipeline: an answer that is stored, one that is being made, or a place for a new one."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from cache.cacheable import reason_not_to
from cache.entry import CacheEntry, KeptReply, entry_of, storable, text_mark, unpack
from cache.key import request_key
from cache.semantic.answers import text_of
from cache.semantic.nearest import is_conversation, partition_request, question_of
from cache.shared_calls import SharedCalls, SharedReply
from contract.exchange import CacheNote
from contract.messages import CacheControl
from contract.phases import Answer, Found
from contract.tiers import CacheAddress

if TYPE_CHECKING:
    from cache.answers import AnswerCache
    from cache.lease import Hold, Lease
    from cache.semantic.lookup import SemanticLookup
    from contract.deltas import Delta
    from contract.exchange import Attributes, Exchange
    from contract.messages import ChatRequest
    from contract.passages import Passage
    from contract.phases import MakesAnswer
    from contract.unsettled import Unsettled

# Larger answers are not kept.
MAX_ENTRY_BYTES = 2_000_000
_TAG = re.compile(rb"[A-Z]+_[A-Z2-7]{6}")
_ASKS_NOTHING = CacheControl()
_encoder = msgspec.msgpack.Encoder()


# Findings that say nothing against the words of an answer: what was masked comes back, and a budget is not about them.
# What was removed from passages never reached the model: while they stand as they were, it would be removed again.
_SAY_NOTHING = frozenset({"mask", "remove", "exceeded", "downgrade"})


class Versioned(Protocol):
    """A source of documents."""

    @property
    def version(self) -> str:
        """Changes with what can be found in it."""
        ...

    async def refresh(self, passages: Sequence[Passage], labels: frozenset[str] | None = None) -> list[Passage]:
        """Those of the passages that are this source's and that somebody with `labels` may see, as they are now."""
        ...


class RecallPolicy(msgspec.Struct, frozen=True):
    """`per`: who shares answers. `pipeline` is a digest of all that is configured for it."""

    name: str
    pipeline: str
    per: str = "app"
    max_temperature: float = 0.3
    conversations: bool = False
    """Whether later turns are compared too, as the question that a model has made of them."""
    personal: bool = False
    """Whether questions about the asker or about the moment are kept too."""


class ExactRecall:
    """Implements `contract.phases.Recall`."""

    def __init__(
        self,
        policy: RecallPolicy,
        answers: AnswerCache,
        sources: Sequence[Versioned] = (),
        lease: Lease | None = None,
    ) -> None:
        """`sources` are those that answers are made from; `lease` keeps others from making the same answer."""
        self._policy = policy
        self._tiers = answers.tiers
        self._semantic = answers.semantic
        self._sources = tuple(sources)
        self._lease = lease
        self.calls = SharedCalls()

    async def lookup(self, request: ChatRequest, exchange: Exchange, variant: str = "") -> Found:
        """See `Recall.lookup`."""
        started = time.perf_counter()
        control = request.cache or _ASKS_NOTHING
        if control.no_store:
            exchange.cache = CacheNote("off", why="no-store")
            return _NOT_STORED
        scope = self._scope(request, exchange, variant)
        place = self._place(request, scope)
        miss = Miss(self, request, exchange, place, scope, started)
        if not control.no_cache and (given := await self._exact(miss)):
            return given
        if why := self._reason_not_to(request):
            exchange.cache = CacheNote("off", why=why)
            return _NOT_STORED
        if control.no_cache:
            return miss.noted()
        if (joined := self.calls.join(place.key, exchange)) is not None:
            return await _shared(joined, exchange, started)
        if self._semantic is None:
            return miss.noted()
        question = question_of(request)
        if not question and self._policy.conversations and is_conversation(request):
            miss.lacks_question = True
            return miss
        return await self.compare(miss, question)

    async def compare(self, miss: Miss, question: str) -> Found:
        """See `Miss.compare`."""
        request, exchange, started = miss.request, miss.exchange, miss.started
        if question and self._semantic is not None:
            partition = request_key(partition_request(request, question), miss.scope).hex()
            look = miss.look = await self._semantic.look(question, partition, self._version())
            if look is not None:
                given = await self._given(look, miss) if look.give else None
                if given is not None:
                    return given
        if (joined := self.calls.join(miss.place.key, exchange)) is not None:
            # Another request has begun meanwhile.
            return await _shared(joined, exchange, started)
        return miss.noted()

    async def _exact(self, miss: Miss) -> Answer | None:
        """What is stored for this very request."""
        found = await self._tiers.get(miss.place)
        entry = self._usable(found[0], miss.max_age) if found is not None else None
        passages = await self._passages(entry, miss.exchange) if entry is not None else None
        if entry is None or found is None or passages is None:
            return None
        note = CacheNote("exact", time.time() - entry.made, entry=miss.place.key.hex())
        return _hit(entry, passages, note, miss, found[1])

    async def _given(self, look: SemanticLookup, miss: Miss) -> Answer | None:
        """The candidate's answer, if it is still there and what it was made from still stands."""
        semantic, candidate, exchange = self._semantic, look.candidate, miss.exchange
        assert semantic is not None
        assert candidate is not None
        found = await self._tiers.get(candidate.kept.place)
        entry = self._usable(found[0], miss.max_age) if found is not None else None
        passages = await self._standing(entry, candidate.kept.version, exchange) if entry is not None else None
        if entry is None or found is None or passages is None:
            if miss.max_age is None:
                semantic.gone(candidate)
            return None
        semantic.given(candidate)
        key = candidate.kept.place.key.hex()
        note = CacheNote("semantic", time.time() - entry.made, similarity=candidate.likelihood, entry=key)
        exchange.record("semantic", miss.started, _about(look))
        return _hit(entry, passages, note, miss, found[1])

    async def _standing(self, entry: CacheEntry, version: str, exchange: Exchange) -> tuple[Passage, ...] | None:
        """An answer dies with the passages that it was made from; one made from none with any change of its sources."""
        if self._sources and not entry.passages and version != self._version():
            return None
        return await self._passages(entry, exchange)

    async def _passages(self, entry: CacheEntry, exchange: Exchange) -> tuple[Passage, ...] | None:
        """The passages with their words, which only their sources keep; None where one is no longer as it was."""
        if not entry.passages:
            return ()
        # An answer from passages that its reader may not see any more is not the reader's.
        labels = exchange.caller.labels if exchange.caller is not None else frozenset()
        there = {each.id: each for source in self._sources for each in await source.refresh(entry.passages, labels)}
        if any(each.id not in there or text_mark(there[each.id].text) != each.text for each in entry.passages):
            return None
        return tuple(msgspec.structs.replace(each, text=there[each.id].text) for each in entry.passages)

    async def _learn(self, look: SemanticLookup, place: CacheAddress, entry: CacheEntry, exchange: Exchange) -> None:
        """What the new answer says of the candidate's; the question is one more to be found."""
        semantic = self._semantic
        assert semantic is not None
        if look.candidate is not None:
            found = await self._tiers.get(look.candidate.kept.place)
            before = unpack(found[0]) if found is not None else None
            if before is None or await self._standing(before, look.candidate.kept.version, exchange) is None:
                semantic.gone(look.candidate)
            else:
                await semantic.learn(look, text_of(before.deltas), text_of(entry.deltas))
        semantic.keep(look, place)

    def _version(self) -> str:
        return " ".join([each.version for each in self._sources])

    def _reason_not_to(self, request: ChatRequest) -> str:
        temperature = request.temperature
        if temperature is not None and temperature > self._policy.max_temperature:
            return "temperature"
        return "" if self._policy.personal else reason_not_to(request)

    def _place(self, request: ChatRequest, scope: list[str]) -> CacheAddress:
        key = request_key(request, [*scope, *[each.version for each in self._sources]])
        return CacheAddress(scope[0], request.model, key)

    def _scope(self, request: ChatRequest, exchange: Exchange, variant: str) -> list[str]:
        """Whose answers they are (first the owner), and by which pipeline."""
        policy = self._policy
        caller = exchange.caller
        app = caller.app if caller is not None else ""
        labels = sorted(caller.labels) if caller is not None else []
        if caller is not None and caller.sources is not None:
            # An answer from a source that this key may not reach is not its own.
            labels += ["sources:", *sorted(caller.sources)]
        owner = "" if policy.per == "labels" else app
        # Who it is, by a token or a header before the body, in which anybody's name can be written.
        user = (exchange.user or request.user) if policy.per == "user" else ""
        return [owner, policy.name, policy.pipeline, policy.per, user, variant, *labels]

    @staticmethod
    def _usable(value: bytes, max_age_s: float | None) -> CacheEntry | None:
        entry = unpack(value)
        if entry is None or (max_age_s is not None and time.time() - entry.made > max_age_s):
            return None
        return entry

    async def made_elsewhere(self, hold: Hold, miss: Miss) -> Answer | None:
        """The answer that another machine has made; None once this one holds the lease, and is to make it."""

        async def look() -> CacheEntry | None:
            found = await self._tiers.get(miss.place)
            return unpack(found[0]) if found is not None else None

        entry = await hold.take_or(look)
        passages = await self._passages(entry, miss.exchange) if entry is not None else None
        if entry is None or passages is None:
            return None
        miss.exchange.cache = CacheNote("shared", time.time() - entry.made, entry=miss.place.key.hex())
        miss.exchange.target = entry.target
        return Answer(KeptReply(entry, stream=miss.request.stream), passages, entry.pipeline)

    def hold(self, place: CacheAddress) -> Hold | None:
        """A hold on that place among all machines; None where none is asked for."""
        return self._lease.hold(place.key) if self._lease is not None else None

    async def keep(self, miss: Miss, answer: Answer, batches: list[list[Delta]], reader: Exchange) -> None:
        """Stores a complete answer, where another request may get it."""
        exchange, look = miss.exchange, miss.look
        why = _reason_not_to_keep((exchange, reader), answer, batches)
        entry = entry_of(answer, batches, exchange.target)
        if why or (why := await self._keep(miss.place, miss.request, answer.passages, entry)):
            exchange.cache = CacheNote("miss", why=why)
        elif look is not None:
            await self._learn(look, miss.place, entry, exchange)

    async def _keep(
        self, place: CacheAddress, request: ChatRequest, passages: tuple[Passage, ...], entry: CacheEntry
    ) -> str:
        """Keeps a complete answer; why not, where it is one that nobody else should get."""
        value = entry.pack()
        if len(value) > MAX_ENTRY_BYTES:
            return "too large"
        if passages and not _tags(value) <= _tags(_encoder.encode((request.messages, passages))):
            # It speaks of masked values that only its passages held: another's request could not undo them.
            return "masked passages"
        await self._tiers.put(place, value)
        return ""


class Miss:
    """Nothing is stored for a request: the place where its answer will be. Implements `Miss` of the contract.

    Its answer is made once for all equal requests; it is `cache.shared_calls.NewAnswer` too.
    """

    __slots__ = (
        "_hold", "_make", "_recall", "exchange", "lacks_question", "look", "place", "request", "scope", "started",
    )  # fmt: skip

    def __init__(
        self, recall: ExactRecall, request: ChatRequest, exchange: Exchange, place: CacheAddress, scope: list[str],
        started: float,
    ) -> None:  # fmt: skip
        self._recall = recall
        self._make: MakesAnswer
        self._hold: Hold | None = None
        self.request = request
        self.exchange = exchange
        self.place = place
        self.scope = scope
        self.started = started
        # What a look-up by meaning has found.
        self.look: SemanticLookup | None = None
        self.lacks_question = False

    @property
    def max_age(self) -> float | None:
        """Seconds; older answers are none for this request."""
        return self.request.cache.max_age if self.request.cache is not None else None

    def noted(self) -> Miss:
        """It, once the record says so."""
        self.exchange.cache = CacheNote("miss")
        self.exchange.record("recall", self.started, {"found": "nothing", **_about(self.look)})
        return self

    async def compare(self, question: str) -> Found:
        """See `Miss.compare`."""
        self.lacks_question = False
        return await self._recall.compare(self, question)

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        """See `Miss.share`."""
        self._make = make
        alone = self.request.cache is not None and self.request.cache.no_cache
        if not alone:
            self._hold = self._recall.hold(self.place)
        reply = self._recall.calls.start(b"" if alone else self.place.key, self.exchange, self)
        unsettled.pending_call = reply.call.over
        return await reply.ready()

    async def make(self) -> Answer:
        """See `NewAnswer.make`. Says at once why it will not be stored, where that is known before its words."""
        hold = self._hold
        if hold is not None and (given := await self._recall.made_elsewhere(hold, self)) is not None:
            return given
        answer = await self._make()
        if why := _known_reason((self.exchange,), answer):
            self.exchange.cache = CacheNote("miss", why=why)
        return answer

    async def keep(self, answer: Answer, batches: list[list[Delta]], reader: Exchange) -> None:
        """See `NewAnswer.keep`."""
        await self._recall.keep(self, answer, batches, reader)

    async def release(self) -> None:
        """See `NewAnswer.release`."""
        if self._hold is not None:
            await self._hold.release()


class _NotStored:
    """The cache has no part in a request's answer. Implements `Miss` of the contract."""

    lacks_question = False

    async def compare(self, question: str) -> Found:
        """See `Miss.compare`."""
        return self

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        """See `Miss.share`: for this request alone."""
        return await make()


_NOT_STORED = _NotStored()


def _hit(entry: CacheEntry, passages: tuple[Passage, ...], note: CacheNote, miss: Miss, tier: str) -> Answer:
    exchange = miss.exchange
    exchange.cache = note
    exchange.target = entry.target
    exchange.record("recall", miss.started, {"found": note.kind, "tier": tier, "age_s": round(note.age_s, 1)})
    return Answer(KeptReply(entry, stream=miss.request.stream), passages, entry.pipeline)


async def _shared(joined: SharedReply, exchange: Exchange, started: float) -> Answer:
    """An answer that is being made for another request."""
    exchange.cache = CacheNote("shared")
    answer = await joined.ready()
    exchange.target = joined.call.exchange.target
    exchange.record("recall", started, {"found": "under way"})
    return answer


def _reason_not_to_keep(records: Sequence[Exchange], answer: Answer, batches: Sequence[Sequence[Delta]]) -> str:
    """`records` are those of the request that made the call, and of one that has read the answer."""
    return _known_reason(records, answer) or storable(batches)


def _known_reason(records: Sequence[Exchange], answer: Answer) -> str:
    """What of the reasons is known before the answer's end."""
    if isinstance(answer.reply, KeptReply):
        return "kept already"
    for record in records:
        for each in record.findings:
            if each.action not in _SAY_NOTHING and not each.shadow:
                return f"flagged by {each.guardrail}"
    if any(step.name == "tool" for record in records for step in record.steps):
        return "tools acted"
    if any(passage.id.endswith(":sql") for passage in answer.passages):
        # Nobody tells when rows change.
        return "rows of a database"
    return ""


def _about(look: SemanticLookup | None) -> Attributes:
    if look is None or look.candidate is None:
        return {}
    return {"likelihood": round(look.candidate.likelihood, 3), "cosine": round(look.candidate.cosine, 3)}


def _tags(data: bytes) -> set[bytes]:
    return set(_TAG.findall(data))
