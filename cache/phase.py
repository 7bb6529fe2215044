"""The cache phase of a pipeline: returns a stored answer, joins a call in flight, or prepares a new entry."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from cache.cacheable import uncacheable_request
from cache.entry import CachedReply, CacheEntry, entry_of, storable, text_mark, unpack
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

# Larger answers are not cached.
MAX_ENTRY_BYTES = 2_000_000
_TAG = re.compile(rb"[A-Z]+_[A-Z2-7]{6}")
_ASKS_NOTHING = CacheControl()
_encoder = msgspec.msgpack.Encoder()


# Actions that don't prevent caching: masked values are restored, budgets don't concern the text, and what was removed
# from unchanged passages would be removed again.
_HARMLESS_ACTIONS = frozenset({"mask", "remove", "exceeded", "downgrade"})


class Versioned(Protocol):
    """A document source."""

    @property
    def version(self) -> str:
        """A text that changes with the searchable content."""
        ...

    async def refresh(self, passages: Sequence[Passage], labels: frozenset[str] | None = None) -> list[Passage]:
        """Returns this source's passages that still exist and that `labels` may see, with their current text."""
        ...


class CachePolicy(msgspec.Struct, frozen=True):
    """`per`: who shares answers. `pipeline` is a digest of the pipeline's complete config."""

    name: str
    pipeline: str
    per: str = "app"
    max_temperature: float = 0.3
    conversations: bool = False
    """Whether later turns are compared too, rewritten by a model as standalone questions."""
    personal: bool = False
    """Whether personal and time-sensitive questions are cached too."""


class CachePhase:
    """Implements `contract.phases.ResponseCache`."""

    def __init__(
        self,
        policy: CachePolicy,
        answers: AnswerCache,
        sources: Sequence[Versioned] = (),
        lease: Lease | None = None,
    ) -> None:
        """`sources` are the sources of the answers; `lease` prevents other machines from making the same call."""
        self._policy = policy
        self._tiers = answers.tiers
        self._semantic = answers.semantic
        self._sources = tuple(sources)
        self._lease = lease
        self.calls = SharedCalls()

    async def lookup(self, request: ChatRequest, exchange: Exchange, variant: str = "") -> Found:
        """See `ResponseCache.lookup`."""
        started = time.perf_counter()
        control = request.cache or _ASKS_NOTHING
        if control.no_store:
            exchange.cache = CacheNote("off", why="no-store")
            return _NOT_STORED
        scope = self._scope(request, exchange, variant)
        place = self._place(request, scope)
        miss = Miss(self, request, exchange, place, scope, started)
        if not control.no_cache and (answer := await self._exact(miss)):
            return answer
        if why := self._uncacheable_request(request):
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
                answer = await self._reuse(look, miss) if look.give else None
                if answer is not None:
                    return answer
        if (joined := self.calls.join(miss.place.key, exchange)) is not None:
            # Another request has started a call in the meantime.
            return await _shared(joined, exchange, started)
        return miss.noted()

    async def _exact(self, miss: Miss) -> Answer | None:
        """Returns the stored answer for exactly this request."""
        hit = await self._tiers.get(miss.place)
        entry = self._usable(hit[0], miss.max_age) if hit is not None else None
        passages = await self._passages(entry, miss.exchange) if entry is not None else None
        if entry is None or hit is None or passages is None:
            return None
        note = CacheNote("exact", time.time() - entry.made, entry=miss.place.key.hex())
        return _hit(entry, passages, note, miss, hit[1])

    async def _reuse(self, look: SemanticLookup, miss: Miss) -> Answer | None:
        """Returns the candidate's answer, if it still exists and its sources are unchanged."""
        semantic, candidate, exchange = self._semantic, look.candidate, miss.exchange
        assert semantic is not None
        assert candidate is not None
        hit = await self._tiers.get(candidate.stored.place)
        entry = self._usable(hit[0], miss.max_age) if hit is not None else None
        passages = await self._valid_passages(entry, candidate.stored.version, exchange) if entry is not None else None
        if entry is None or hit is None or passages is None:
            if miss.max_age is None:
                semantic.forget(candidate)
            return None
        semantic.record_hit(candidate)
        key = candidate.stored.place.key.hex()
        note = CacheNote("semantic", time.time() - entry.made, similarity=candidate.likelihood, entry=key)
        exchange.record("semantic", miss.started, _about(look))
        return _hit(entry, passages, note, miss, hit[1])

    async def _valid_passages(self, entry: CacheEntry, version: str, exchange: Exchange) -> tuple[Passage, ...] | None:
        """The entry's passages if the entry is still valid, else None.

        An answer becomes invalid when one of its passages changes; an answer without passages when any source changes.
        """
        if self._sources and not entry.passages and version != self._version():
            return None
        return await self._passages(entry, exchange)

    async def _passages(self, entry: CacheEntry, exchange: Exchange) -> tuple[Passage, ...] | None:
        """The passages with their texts from the sources; None if one has changed or is not visible."""
        if not entry.passages:
            return ()
        # A reader must not get an answer from passages that it may no longer see.
        labels = exchange.caller.labels if exchange.caller is not None else frozenset()
        current = {each.id: each for source in self._sources for each in await source.refresh(entry.passages, labels)}
        if any(each.id not in current or text_mark(current[each.id].text) != each.text for each in entry.passages):
            return None
        return tuple(msgspec.structs.replace(each, text=current[each.id].text) for each in entry.passages)

    async def _learn(self, look: SemanticLookup, place: CacheAddress, entry: CacheEntry, exchange: Exchange) -> None:
        """Compares the new answer with the candidate's, and adds the question to the index."""
        semantic = self._semantic
        assert semantic is not None
        if look.candidate is not None:
            hit = await self._tiers.get(look.candidate.stored.place)
            before = unpack(hit[0]) if hit is not None else None
            if before is None or await self._valid_passages(before, look.candidate.stored.version, exchange) is None:
                semantic.forget(look.candidate)
            else:
                await semantic.learn(look, text_of(before.deltas), text_of(entry.deltas))
        semantic.keep(look, place)

    def _version(self) -> str:
        return " ".join([each.version for each in self._sources])

    def _uncacheable_request(self, request: ChatRequest) -> str:
        temperature = request.temperature
        if temperature is not None and temperature > self._policy.max_temperature:
            return "temperature"
        return "" if self._policy.personal else uncacheable_request(request)

    def _place(self, request: ChatRequest, scope: list[str]) -> CacheAddress:
        key = request_key(request, [*scope, *[each.version for each in self._sources]])
        return CacheAddress(scope[0], request.model, key)

    def _scope(self, request: ChatRequest, exchange: Exchange, variant: str) -> list[str]:
        """The scope of the key: the owner first, then the pipeline and the caller's access."""
        policy = self._policy
        caller = exchange.caller
        app = caller.app if caller is not None else ""
        labels = sorted(caller.labels) if caller is not None else []
        if caller is not None and caller.sources is not None:
            # A key that may not access a source must not get answers from it.
            labels += ["sources:", *sorted(caller.sources)]
        owner = "" if policy.per == "labels" else app
        # Prefer the user of a token or header; the body may contain any name.
        user = (exchange.user or request.user) if policy.per == "user" else ""
        return [owner, policy.name, policy.pipeline, policy.per, user, variant, *labels]

    @staticmethod
    def _usable(value: bytes, max_age_s: float | None) -> CacheEntry | None:
        entry = unpack(value)
        if entry is None or (max_age_s is not None and time.time() - entry.made > max_age_s):
            return None
        return entry

    async def await_other_machine(self, hold: Hold, miss: Miss) -> Answer | None:
        """Returns another machine's answer; None once this machine holds the lease and must call the model."""

        async def look() -> CacheEntry | None:
            hit = await self._tiers.get(miss.place)
            return unpack(hit[0]) if hit is not None else None

        entry = await hold.acquire_or(look)
        passages = await self._passages(entry, miss.exchange) if entry is not None else None
        if entry is None or passages is None:
            return None
        miss.exchange.cache = CacheNote("shared", time.time() - entry.made, entry=miss.place.key.hex())
        miss.exchange.target = entry.target
        return Answer(CachedReply(entry, stream=miss.request.stream), passages, entry.pipeline)

    def hold(self, place: CacheAddress) -> Hold | None:
        """A lease for that address across all machines; None if leases are not configured."""
        return self._lease.hold(place.key) if self._lease is not None else None

    async def keep(self, miss: Miss, answer: Answer, batches: list[list[Delta]], reader: Exchange) -> None:
        """Stores a complete answer, if other requests may get it."""
        exchange, look = miss.exchange, miss.look
        why = _uncacheable((exchange, reader), answer, batches)
        entry = entry_of(answer, batches, exchange.target)
        if why or (why := await self._store(miss.place, miss.request, answer.passages, entry)):
            exchange.cache = CacheNote("miss", why=why)
        elif look is not None:
            await self._learn(look, miss.place, entry, exchange)

    async def _store(
        self, place: CacheAddress, request: ChatRequest, passages: tuple[Passage, ...], entry: CacheEntry
    ) -> str:
        """Stores a complete answer; returns why not, or an empty text."""
        value = entry.pack()
        if len(value) > MAX_ENTRY_BYTES:
            return "too large"
        if passages and not _tags(value) <= _tags(_encoder.encode((request.messages, passages))):
            # The answer contains tags of values from its passages, which another request could not restore.
            return "masked passages"
        await self._tiers.put(place, value)
        return ""


class Miss:
    """A cache miss: the address for the new answer. Implements `contract.phases.Miss` and `NewAnswer`.

    One call makes the answer for all equal requests.
    """

    __slots__ = (
        "_hold", "_make", "_phase", "exchange", "lacks_question", "look", "place", "request", "scope", "started",
    )  # fmt: skip

    def __init__(
        self, phase: CachePhase, request: ChatRequest, exchange: Exchange, place: CacheAddress, scope: list[str],
        started: float,
    ) -> None:  # fmt: skip
        self._phase = phase
        self._make: MakesAnswer
        self._hold: Hold | None = None
        self.request = request
        self.exchange = exchange
        self.place = place
        self.scope = scope
        self.started = started
        # The result of the semantic look-up.
        self.look: SemanticLookup | None = None
        self.lacks_question = False

    @property
    def max_age(self) -> float | None:
        """The maximum age in seconds of an answer for this request; None for any."""
        return self.request.cache.max_age if self.request.cache is not None else None

    def noted(self) -> Miss:
        """Records the miss and returns itself."""
        self.exchange.cache = CacheNote("miss")
        self.exchange.record("cache", self.started, {"found": "nothing", **_about(self.look)})
        return self

    async def compare(self, question: str) -> Found:
        """See `Miss.compare`."""
        self.lacks_question = False
        return await self._phase.compare(self, question)

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        """See `Miss.share`."""
        self._make = make
        alone = self.request.cache is not None and self.request.cache.no_cache
        if not alone:
            self._hold = self._phase.hold(self.place)
        reply = self._phase.calls.start(b"" if alone else self.place.key, self.exchange, self)
        unsettled.pending_call = reply.call.over
        return await reply.ready()

    async def make(self) -> Answer:
        """See `NewAnswer.make`. Records early why the answer will not be stored, if that is known before its text."""
        hold = self._hold
        if hold is not None and (given := await self._phase.await_other_machine(hold, self)) is not None:
            return given
        answer = await self._make()
        if why := _known_reason((self.exchange,), answer):
            self.exchange.cache = CacheNote("miss", why=why)
        return answer

    async def keep(self, answer: Answer, batches: list[list[Delta]], reader: Exchange) -> None:
        """See `NewAnswer.keep`."""
        await self._phase.keep(self, answer, batches, reader)

    async def release(self) -> None:
        """See `NewAnswer.release`."""
        if self._hold is not None:
            await self._hold.release()


class _NotStored:
    """A request that bypasses the cache. Implements `contract.phases.Miss`."""

    lacks_question = False

    async def compare(self, question: str) -> Found:
        """See `Miss.compare`."""
        return self

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        """See `Miss.share`: calls for this request alone."""
        return await make()


_NOT_STORED = _NotStored()


def _hit(entry: CacheEntry, passages: tuple[Passage, ...], note: CacheNote, miss: Miss, tier: str) -> Answer:
    exchange = miss.exchange
    exchange.cache = note
    exchange.target = entry.target
    exchange.record("cache", miss.started, {"found": note.kind, "tier": tier, "age_s": round(note.age_s, 1)})
    return Answer(CachedReply(entry, stream=miss.request.stream), passages, entry.pipeline)


async def _shared(joined: SharedReply, exchange: Exchange, started: float) -> Answer:
    """The answer of another request's call in flight."""
    exchange.cache = CacheNote("shared")
    answer = await joined.ready()
    exchange.target = joined.call.exchange.target
    exchange.record("cache", started, {"found": "in flight"})
    return answer


def _uncacheable(records: Sequence[Exchange], answer: Answer, batches: Sequence[Sequence[Delta]]) -> str:
    """Why an answer may not be cached; `records` are those of the calling request and of a reader."""
    return _known_reason(records, answer) or storable(batches)


def _known_reason(records: Sequence[Exchange], answer: Answer) -> str:
    """The reasons that are known before the answer ends."""
    if isinstance(answer.reply, CachedReply):
        return "already cached"
    for record in records:
        for each in record.findings:
            if each.action not in _HARMLESS_ACTIONS and not each.shadow:
                return f"flagged by {each.guardrail}"
    if any(step.name == "tool" for record in records for step in record.steps):
        return "tools were called"
    if any(passage.id.endswith(":sql") for passage in answer.passages):
        # There is no notification when rows change.
        return "rows of a database"
    return ""


def _about(look: SemanticLookup | None) -> Attributes:
    if look is None or look.candidate is None:
        return {}
    return {"likelihood": round(look.candidate.likelihood, 3), "cosine": round(look.candidate.cosine, 3)}


def _tags(data: bytes) -> set[bytes]:
    return set(_TAG.findall(data))
