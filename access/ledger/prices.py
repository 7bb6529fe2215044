"""What a request has cost: exact decimals of a US dollar, by the prices of the YAML, else by those of genai-prices.

The list ships with that package: nothing is asked of the network. A price that is not known is a state of its own, and
never 0.
"""

from __future__ import annotations

import datetime
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import structlog

from access.limits.estimate import size_of
from config.price_list import listed as in_the_list
from contract.deltas import Usage
from contract.service_tier import STANDARD
from contract.tokens import estimate_tokens

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import ChatRequest, EmbeddingRequest
    from contract.unsettled import Transcript, Unsettled

MILLION = Decimal(1_000_000)
FREE = Decimal(0)
_SPENT = ("miss", "off")
# We went away, and the provider may have gone on: it bills the prompt at least.
_GIVEN_UP = frozenset({"cancelled", "timeout"})
_USUAL = ("", STANDARD)
# Our kinds as genai-prices names them.
_LISTED = {
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "image_input": "input_image_mtok",
    "image_output": "output_image_mtok",
    "reasoning": "output_reasoning_mtok",
    "searches": "web_searches_kcount",
}


class Rates(msgspec.Struct, frozen=True):
    """US dollars for a million tokens, for a thousand `searches`. What is None costs as the prompt or the answer does.

    `above` holds the rates of prompts that are longer, by their length, the shortest first; `service_tiers` those of
    other tiers of the provider's service, by their names (`contract.service_tier`). `listed` is genai-prices'
    own, which knows more kinds; `tiered` says that only it can tell any cost.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None
    reasoning: Decimal | None = None
    searches: Decimal | None = None
    above: tuple[tuple[int, Rates], ...] = ()
    service_tiers: Mapping[str, Rates] = {}
    listed: Any = None
    tiered: bool = False

    def cost(self, usage: Usage) -> Decimal:
        """Of one answer."""
        odd = usage.odd
        if self.listed is not None and (odd or self.tiered):
            told = _listed_cost(self.listed, usage)
            if told is not None:
                return told
        for tokens, rates in reversed(self.above):
            if usage.input > tokens:
                return rates.cost(usage)
        if odd or self.reasoning is not None:
            return self._odd_cost(usage)
        fresh = usage.input - usage.cache_read - usage.cache_write
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        dollars = fresh * self.input + usage.cache_read * read + usage.cache_write * write + usage.output * self.output
        return dollars / MILLION

    def knows(self, usage: Usage) -> bool:
        """Whether there is a price for all of it: searches are no tokens, and cost as nothing else does."""
        return not usage.searches or self.searches is not None

    def most(self, usage: Usage) -> Decimal:
        """The most that so many tokens of prompt and answer may cost, of whatever kind they are; without searches."""
        flat = self._flat(usage)
        for _, rates in self.above:
            flat = max(flat, rates.most(usage))
        return max(self.cost(usage), flat) if self.tiered else flat

    def _flat(self, usage: Usage) -> Decimal:
        kinds = (self.cache_read, self.cache_write, self.cache_write_1h, self.audio_input, self.image_input)
        dearest = max(self.input, *(each or FREE for each in kinds))
        answer = max(self.output, *(each or FREE for each in (self.audio_output, self.image_output, self.reasoning)))
        return (usage.input * dearest + usage.output * answer) / MILLION

    def _odd_cost(self, usage: Usage) -> Decimal:
        """By kinds, each token once."""
        short = usage.cache_write - usage.cache_write_1h
        write = self.input if self.cache_write is None else self.cache_write
        prompt = [
            (usage.cache_read, self.cache_read),
            (short, write),
            (usage.cache_write_1h, write if self.cache_write_1h is None else self.cache_write_1h),
            (usage.audio_input, self.audio_input),
            (usage.image_input, self.image_input),
        ]
        answer = [(usage.audio_output, self.audio_output), (usage.image_output, self.image_output)]
        if self.reasoning is not None:
            answer.append((usage.reasoning, self.reasoning))
        dollars = _sum_up(usage.input, self.input, prompt) + _sum_up(usage.output, self.output, answer)
        return (dollars + usage.searches * 1000 * (self.searches or FREE)) / MILLION


def _sum_up(all_of_them: int, price: Decimal, kinds: Iterable[tuple[int, Decimal | None]]) -> Decimal:
    dollars, left = FREE, all_of_them
    for count, own in kinds:
        if own is not None:
            # Kinds may overlap where a provider counts a kept recording twice: never more than there are.
            count = min(count, left)
            dollars, left = dollars + count * own, left - count
    return dollars + left * price


# What costs nothing because the YAML says so, in whatever tier it is served.
NOTHING = Rates(FREE, FREE, searches=FREE)
# A text is an entry of the list that ships, `vendor/model`.
Dated: TypeAlias = Sequence[tuple[datetime.date | None, Rates | str]]


class PriceVendor(msgspec.Struct, frozen=True):
    """Whose price list holds for a provider: by its id in genai-prices or by its address; `free` costs nothing."""

    id: str = ""
    url: str = ""
    free: bool = False


class Prices:
    """Of all targets. Looks each up once a day."""

    def __init__(self, own: Mapping[str, Dated], vendors: Mapping[str, PriceVendor]) -> None:
        """`own` by target (`provider/model`, with `*` for any letters of the model), each with the day from which it
        holds, the oldest first; `vendors` by provider.
        """
        self._own = {name: dated for name, dated in own.items() if "*" not in name}
        patterns = sorted((name for name in own if "*" in name), key=lambda name: name.count("*") - len(name))
        self._patterns = [(_pattern(name), own[name]) for name in patterns]
        self._vendors = dict(vendors)
        self._found: dict[str, Rates | None] = {}
        self._day = datetime.date.min
        self._until = 0.0
        self._looking = threading.Lock()

    def rates(self, target: str, tier: str = "") -> Rates | None:
        """The rates of a target today in a service tier; None where they are not known for it."""
        found = self._found
        name = target if tier in _USUAL else f"{tier} {target}"
        if time.time() < self._until and name in found:
            return found[name]
        with self._looking:
            today = datetime.datetime.now(tz=datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            if today.date() != self._day:
                self._found, self._day = {}, today.date()
                self._until = (today + datetime.timedelta(days=1)).timestamp()
            if name not in self._found:
                self._found[name] = self._look_up(target, "" if tier in _USUAL else tier)
            return self._found[name]

    def learn(self, targets: Iterable[str]) -> None:
        """Looks up ahead, in a thread: the list takes a third of a second to load."""
        for target in targets:
            self.rates(target)

    def _look_up(self, target: str, tier: str) -> Rates | None:
        for since, rates in reversed(self._told(target)):
            if since is None or since <= self._day:
                if isinstance(rates, str):
                    vendor, _, model = rates.partition("/")
                    return _listed_rates(in_the_list(model, vendor), tier)
                return rates if rates is NOTHING or not tier else rates.service_tiers.get(tier)
        provider, _, model = target.partition("/")
        vendor_of = self._vendors.get(provider, PriceVendor())
        if vendor_of.free:
            return Rates(FREE, FREE)
        if not vendor_of.id and not vendor_of.url:
            return None
        return _listed_rates(in_the_list(model, vendor_of.id, vendor_of.url), tier)

    def _told(self, target: str) -> Dated:
        """What the YAML says of a target: under its own name, else under the most specific that fits."""
        own = self._own.get(target)
        if own is not None:
            return own
        return next((dated for pattern, dated in self._patterns if pattern.fullmatch(target)), ())

    def settle(self, exchange: Exchange, unsettled: Unsettled) -> None:
        """Writes into the record what the request's attempts have cost. May be called again when more is known."""
        if unsettled.call_pending:
            return
        unsettled.due = False
        complete_usage(unsettled.transcripts)
        if not exchange.attempts and exchange.cache is not None and exchange.cache.kind not in _SPENT:
            exchange.cost = FREE
            return
        cost, unpriced = FREE, False
        for attempt in exchange.attempts:
            if attempt.usage is None:
                continue
            rates = self.rates(attempt.target, attempt.tier)
            attempt.unpriced = rates is None or not rates.knows(attempt.usage)
            attempt.cost = rates.cost(attempt.usage) if rates is not None else FREE
            unpriced |= attempt.unpriced
            cost += attempt.cost
        exchange.cost, exchange.unpriced = (None if unpriced else cost), unpriced

    def cost_so_far(self, exchange: Exchange) -> Decimal | None:
        """What the attempts have used until now; None where a price is not known."""
        cost = FREE
        for attempt in exchange.attempts:
            rates = self.rates(attempt.target, attempt.tier)
            if attempt.usage is not None and rates is None:
                return None
            if attempt.usage is not None and rates is not None:
                cost += rates.cost(attempt.usage)
        return cost


async def settle_request(
    exchange: Exchange, unsettled: Unsettled, prices: Prices, finished: Callable[[Exchange], None] | None
) -> None:
    """The end of a request: what it has cost, its row by `finished` (None: none are kept), its ticket. Never raises."""
    try:
        if unsettled.due:
            prices.settle(exchange, unsettled)
        # Its row first: whenever the process dies, no budget holds less than the ledger says.
        if finished is not None:
            finished(exchange)
        if unsettled.ticket is not None:
            await unsettled.ticket.settle(exchange)
    except Exception as error:
        structlog.get_logger().error("a request could not be settled", problem=type(error).__name__)


def complete_usage(transcripts: Iterable[Transcript]) -> None:
    """Counts for ourselves what was generated of answers that ended early, or whose provider counts nothing."""
    for transcript in transcripts:
        if transcript.asked is not None:
            _complete(transcript, transcript.asked)
            transcript.asked, transcript.said = None, []
            transcript.attempt.uncounted = False


def _complete(transcript: Transcript, asked: ChatRequest | EmbeddingRequest) -> None:
    attempt, said = transcript.attempt, transcript.said
    heard = bool(said) or attempt.usage is not None
    ended_well = bool(attempt.ended) and not attempt.error
    if attempt.usage is not None and ended_well and not _counts_nothing(attempt.usage, said):
        return
    if not heard and not ended_well and not (attempt.sent and attempt.error in _GIVEN_UP):
        return  # it failed before it said anything: nobody bills for that
    usage = attempt.usage or Usage()
    output = usage.output
    if not (output and ended_well):
        output = max(output, estimate_tokens("".join(said)))
    prompt = usage.input
    if not prompt:
        prompt = size_of(asked).prompt
    attempt.estimated = attempt.usage is None or (prompt, output) != (usage.input, usage.output)
    attempt.usage = msgspec.structs.replace(usage, input=prompt, output=output)


def _counts_nothing(usage: Usage, said: Sequence[str]) -> bool:
    """Whether its provider counts nothing of an answer with words, or of its prompt: a field is filled with zeros."""
    return any(said) and not (usage.input and usage.output)


def is_priced_by(name: str, target: str) -> bool:
    """Whether an entry of `prices` fits a target; a more specific one may come before it."""
    return name == target or ("*" in name and _pattern(name).fullmatch(target) is not None)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)


def _listed_rates(info: Any, tier: str) -> Rates | None:
    """What the list says of a model today; None where it says nothing of this tier, or nothing at all."""
    if info is None:
        return None
    now = datetime.datetime.now(tz=datetime.UTC)
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier} if tier else {}
    if context and not _has_variant(info, context, now):
        return None
    listed = info.get_prices(now, context)
    rate = {name: _base(getattr(listed, f"{name}_mtok", None)) for name in ("input", "output")}
    if rate["input"] is None:
        return None
    rates = Rates(rate["input"], rate["output"] or FREE, listed=listed, tiered=not _plain(listed))
    kinds = {ours: _base(getattr(listed, theirs, None)) for ours, theirs in _LISTED.items()}
    return msgspec.structs.replace(rates, **kinds)


def _has_variant(info: Any, context: Mapping[str, str], now: datetime.datetime) -> bool:
    """Whether genai-prices knows what a model costs in that context: else it would tell the usual price."""
    return any(
        each.when == context and (each.constraint is None or each.constraint.active(now))
        for each in info.price_variants or ()
    )


def _base(price: Any) -> Decimal | None:
    """A price that may have tiers."""
    if price is None:
        return None
    return Decimal(getattr(price, "base", price))


def _plain(listed: Any) -> bool:
    """Whether no price of it depends on how many tokens there are, or on which of the answer's were thoughts."""
    prices = [getattr(listed, name, None) for name in ("input_mtok", "output_mtok", *_LISTED.values())]
    return getattr(listed, "output_reasoning_mtok", None) is None and not any(hasattr(each, "tiers") for each in prices)


def _listed_cost(listed: Any, usage: Usage) -> Decimal | None:
    from genai_prices import Usage as Counted

    counted = Counted(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        input_audio_tokens=usage.audio_input,
        output_audio_tokens=usage.audio_output,
        input_image_tokens=usage.image_input,
        output_image_tokens=usage.image_output,
        output_reasoning_tokens=usage.reasoning,
        web_searches=usage.searches,
    )
    try:
        total: Decimal = listed.calc_price(counted)["total_price"]
    except ValueError:
        # Counts that don't go together, such as more sound than there is beside what was kept.
        return None
    return total
