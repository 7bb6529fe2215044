"""The recall phase of one pipeline: an answer that is there already, one that is under way, or a new one."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from cache.cacheable import reason_not_to
from cache.entry import Entry, KeptReply, entry_of, storable, text_mark, unpack
from cache.flights import FlightReply, Flights
from cache.key import request_key
from cache.semantic.answers import text_of
from cache.semantic.nearest import is_conversation, partition_request, question_of
from contract.exchange import CacheNote
from contract.messages import CacheControl
from contract.phases import Made
from contract.tiers import Place

if TYPE_CHECKING:
    from cache.answers import AnswerCache
    from cache.flights import Make
    from cache.lease import Hold, Lease
    from cache.semantic.look import Look
    from contract.deltas import Delta
    from contract.exchange import Attributes, Exchange
    from contract.messages import ChatRequest
    from contract.passages import Passage

# Larger answers are not kept.
MAX_ENTRY_BYTES = 2_000_000
_TAG = re.compile(rb"[A-Z]+_[A-Z2-7]{6}")
_ASKS_NOTHING = CacheControl()
# Where a scope names the owner.
_OWNER = 0
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

    async def again(self, passages: Sequence[Passage], labels: frozenset[str] | None = None) -> list[Passage]:
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
        self._flights = Flights()

    async def recall(
        self,
        request: ChatRequest,
        exchange: Exchange,
        make: Make,
        variant: str = "",
        standalone: Callable[[], Awaitable[str]] | None = None,
    ) -> Made:
        """See `Recall.recall`."""
        started = time.perf_counter()
        control = request.cache or _ASKS_NOTHING
        if control.no_store:
            exchange.cache = CacheNote("off", why="no-store")
            return await make()
        scope = self._scope(request, exchange, variant)
        place = self._place(request, scope)
        if not control.no_cache and (given := await self._exact(place, request, exchange, control.max_age, started)):
            return given
        if why := self._reason_not_to(request):
            exchange.cache = CacheNote("off", why=why)
            return await make()
        look = None
        if not control.no_cache:
            if (joined := self._flights.join(place.key, exchange)) is not None:
                return await _shared(joined, exchange, started)
            look = await self._look(request, scope, standalone) if self._semantic is not None else None
            if look is not None:
                given = await self._given(look, request, exchange, control.max_age, started) if look.give else None
                if given is not None:
                    return given
                # Another may have begun meanwhile.
                if (joined := self._flights.join(place.key, exchange)) is not None:
                    return await _shared(joined, exchange, started)
        exchange.cache = CacheNote("miss")
        make = _telling(make, exchange)
        exchange.record("recall", started, {"found": "nothing", **_about(look)})

        async def keep(made: Made, batches: list[list[Delta]], reader: Exchange) -> None:
            why = _reason_not_to_keep((exchange, reader), made, batches)
            entry = entry_of(made, batches, exchange.target)
            if why or (why := await self._keep(place, request, made.passages, entry)):
                exchange.cache = CacheNote("miss", why=why)
            elif look is not None:
                await self._learn(look, place, entry, exchange)

        if control.no_cache:
            return await self._flights.start(b"", exchange, make, keep).ready()
        if self._lease is None:
            return await self._flights.start(place.key, exchange, make, keep).ready()
        hold = self._lease.hold(place.key)
        flown = self._under_lease(hold, place, request, exchange, make)
        return await self._flights.start(place.key, exchange, flown, keep, hold.release).ready()

    async def _exact(
        self, place: Place, request: ChatRequest, exchange: Exchange, max_age: float | None, started: float
    ) -> Made | None:
        """What is kept for this very request."""
        found = await self._tiers.get(place)
        entry = self._usable(found[0], max_age) if found is not None else None
        passages = await self._passages(entry, exchange) if entry is not None else None
        if entry is None or found is None or passages is None:
            return None
        note = CacheNote("exact", time.time() - entry.made, entry=place.key.hex())
        return self._hit(entry, passages, note, request, exchange, started, found[1])

    async def _look(
        self, request: ChatRequest, scope: list[str], standalone: Callable[[], Awaitable[str]] | None
    ) -> Look | None:
        """The nearest kept question, where this one may be compared with others at all."""
        question = question_of(request)
        if not question and standalone is not None and self._policy.conversations and is_conversation(request):
            question = await standalone()
        if not question or self._semantic is None:
            return None
        partition = request_key(partition_request(request, question), scope).hex()
        return await self._semantic.look(question, partition, self._version())

    async def _given(
        self, look: Look, request: ChatRequest, exchange: Exchange, max_age: float | None, started: float
    ) -> Made | None:
        """The candidate's answer, if it is still there and what it was made from still stands."""
        semantic, candidate = self._semantic, look.candidate
        assert semantic is not None
        assert candidate is not None
        found = await self._tiers.get(candidate.kept.place)
        entry = self._usable(found[0], max_age) if found is not None else None
        passages = await self._standing(entry, candidate.kept.version, exchange) if entry is not None else None
        if entry is None or found is None or passages is None:
            if max_age is None:
                semantic.gone(candidate)
            return None
        semantic.given(candidate)
        key = candidate.kept.place.key.hex()
        note = CacheNote("semantic", time.time() - entry.made, similarity=candidate.likelihood, entry=key)
        exchange.record("semantic", started, _about(look))
        return self._hit(entry, passages, note, request, exchange, started, found[1])

    async def _standing(self, entry: Entry, version: str, exchange: Exchange) -> tuple[Passage, ...] | None:
        """An answer dies with the passages that it was made from; one made from none with any change of its sources."""
        if self._sources and not entry.passages and version != self._version():
            return None
        return await self._passages(entry, exchange)

    async def _passages(self, entry: Entry, exchange: Exchange) -> tuple[Passage, ...] | None:
        """The passages with their words, which only their sources keep; None where one is no longer as it was."""
        if not entry.passages:
            return ()
        # An answer from passages that its reader may not see any more is not the reader's.
        labels = exchange.caller.labels if exchange.caller is not None else frozenset()
        there = {each.id: each for source in self._sources for each in await source.again(entry.passages, labels)}
        if any(each.id not in there or text_mark(there[each.id].text) != each.text for each in entry.passages):
            return None
        return tuple(msgspec.structs.replace(each, text=there[each.id].text) for each in entry.passages)

    async def _learn(self, look: Look, place: Place, entry: Entry, exchange: Exchange) -> None:
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

    def _place(self, request: ChatRequest, scope: list[str]) -> Place:
        key = request_key(request, [*scope, *[each.version for each in self._sources]])
        return Place(scope[_OWNER], request.model, key)

    def _scope(self, request: ChatRequest, exchange: Exchange, variant: str) -> list[str]:
        """Whose answers they are, and by which pipeline."""
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
    def _usable(value: bytes, max_age_s: float | None) -> Entry | None:
        entry = unpack(value)
        if entry is None or (max_age_s is not None and time.time() - entry.made > max_age_s):
            return None
        return entry

    @staticmethod
    def _hit(
        entry: Entry,
        passages: tuple[Passage, ...],
        note: CacheNote,
        request: ChatRequest,
        exchange: Exchange,
        started: float,
        tier: str,
    ) -> Made:
        exchange.cache = note
        exchange.target = entry.target
        exchange.record("recall", started, {"found": note.kind, "tier": tier, "age_s": round(note.age_s, 1)})
        return Made(KeptReply(entry, stream=request.stream), passages)

    def _under_lease(self, hold: Hold, place: Place, request: ChatRequest, exchange: Exchange, make: Make) -> Make:
        async def look() -> Entry | None:
            found = await self._tiers.get(place)
            return unpack(found[0]) if found is not None else None

        async def flown() -> Made:
            entry = await hold.take_or(look)
            passages = await self._passages(entry, exchange) if entry is not None else None
            if entry is None or passages is None:
                return await make()
            exchange.cache = CacheNote("shared", time.time() - entry.made, entry=place.key.hex())
            exchange.target = entry.target
            return Made(KeptReply(entry, stream=request.stream), passages)

        return flown

    async def _keep(self, place: Place, request: ChatRequest, passages: tuple[Passage, ...], entry: Entry) -> str:
        """Keeps a complete answer; why not, where it is one that nobody else should get."""
        value = entry.pack()
        if len(value) > MAX_ENTRY_BYTES:
            return "too large"
        if passages and not _tags(value) <= _tags(_encoder.encode((request.messages, passages))):
            # It speaks of masked values that only its passages held: another's request could not undo them.
            return "masked passages"
        await self._tiers.put(place, value)
        return ""


async def _shared(joined: FlightReply, exchange: Exchange, started: float) -> Made:
    """An answer that is under way for another."""
    exchange.cache = CacheNote("shared")
    made = await joined.ready()
    exchange.target = joined.flight.exchange.target
    exchange.record("recall", started, {"found": "under way"})
    return made


def _reason_not_to_keep(ledgers: Sequence[Exchange], made: Made, batches: Sequence[Sequence[Delta]]) -> str:
    """`ledgers` are of who made the call, and of who has read the answer."""
    return _known_reason(ledgers, made) or storable(batches)


def _telling(make: Make, exchange: Exchange) -> Make:
    """`make`, which says at once why its answer will not be kept, where that is known before its words."""

    async def made_and_told() -> Made:
        made = await make()
        if why := _known_reason((exchange,), made):
            exchange.cache = CacheNote("miss", why=why)
        return made

    return made_and_told


def _known_reason(ledgers: Sequence[Exchange], made: Made) -> str:
    """What of the reasons is known before the answer's end."""
    if isinstance(made.reply, KeptReply):
        return "kept already"
    for ledger in ledgers:
        for each in ledger.findings:
            if each.action not in _SAY_NOTHING and not each.shadow:
                return f"flagged by {each.guardrail}"
    if any(step.name == "tool" for ledger in ledgers for step in ledger.steps):
        return "tools acted"
    if any(passage.id.endswith(":sql") for passage in made.passages):
        # Nobody tells when rows change.
        return "rows of a database"
    return ""


def _about(look: Look | None) -> Attributes:
    if look is None or look.candidate is None:
        return {}
    return {"likelihood": round(look.candidate.likelihood, 3), "cosine": round(look.candidate.cosine, 3)}


def _tags(data: bytes) -> set[bytes]:
    return set(_TAG.findall(data))
