"""The cost of a request: exact decimals of US dollars, from the prices of the YAML, else from genai-prices.

The price list is part of that package, so no network is needed. An unknown price is a separate state, never 0.
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
from config.price_list import listed_model
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
# The gateway abandoned the call, and the provider may have continued: it bills at least the prompt.
_ABANDONED = frozenset({"cancelled", "timeout"})
_USUAL = ("", STANDARD)
# Gatehouse's kinds of tokens, with their names in genai-prices.
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
    """US dollars per million tokens, and per thousand `searches`. A rate of None is that of the input or the output.

    `above` has the rates of longer prompts, by length, the shortest first; `service_tiers` those of other service
    tiers, by name (`contract.service_tier`). `listed` is the entry of genai-prices, which has more kinds of tokens;
    `tiered` means that only this entry can compute a cost.
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
        """The cost of one response."""
        special = usage.has_special_prices
        if self.listed is not None and (special or self.tiered):
            cost = _listed_cost(self.listed, usage)
            if cost is not None:
                return cost
        for tokens, rates in reversed(self.above):
            if usage.input > tokens:
                return rates.cost(usage)
        if special or self.reasoning is not None:
            return self._cost_by_kind(usage)
        fresh = usage.input - usage.cache_read - usage.cache_write
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        dollars = fresh * self.input + usage.cache_read * read + usage.cache_write * write + usage.output * self.output
        return dollars / MILLION

    def covers(self, usage: Usage) -> bool:
        """Whether all parts of the usage have a price; searches are not tokens and need their own price."""
        return not usage.searches or self.searches is not None

    def most(self, usage: Usage) -> Decimal:
        """The most that this many input and output tokens can cost, of any kind; without searches."""
        flat = self._flat(usage)
        for _, rates in self.above:
            flat = max(flat, rates.most(usage))
        return max(self.cost(usage), flat) if self.tiered else flat

    def _flat(self, usage: Usage) -> Decimal:
        kinds = (self.cache_read, self.cache_write, self.cache_write_1h, self.audio_input, self.image_input)
        highest_input = max(self.input, *(each or FREE for each in kinds))
        highest_output = max(
            self.output, *(each or FREE for each in (self.audio_output, self.image_output, self.reasoning))
        )
        return (usage.input * highest_input + usage.output * highest_output) / MILLION

    def _cost_by_kind(self, usage: Usage) -> Decimal:
        """The cost by kinds of tokens; each token counts once."""
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
            # Kinds may overlap, such as cached audio, which some providers count twice; the total never grows.
            count = min(count, left)
            dollars, left = dollars + count * own, left - count
    return dollars + left * price


# Free because the YAML says so, in any service tier.
NOTHING = Rates(FREE, FREE, searches=FREE)
# A string is an entry of the bundled price list, `vendor/model`.
Dated: TypeAlias = Sequence[tuple[datetime.date | None, Rates | str]]


class PriceVendor(msgspec.Struct, frozen=True):
    """The vendor whose listed prices apply: by its id in genai-prices or by its address; `free` costs nothing."""

    id: str = ""
    url: str = ""
    free: bool = False


class Prices:
    """The prices of all targets. Looks up each once a day."""

    def __init__(self, own: Mapping[str, Dated], vendors: Mapping[str, PriceVendor]) -> None:
        """`own` has prices by target (`provider/model`, where `*` matches any characters of the model), each with its
        first day, the oldest first; `vendors` by provider.
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
        """Today's rates of a target in a service tier; None if unknown."""
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

    def preload(self, targets: Iterable[str]) -> None:
        """Looks up prices in advance, in a thread: loading the list takes a third of a second."""
        for target in targets:
            self.rates(target)

    def _look_up(self, target: str, tier: str) -> Rates | None:
        for since, rates in reversed(self._configured(target)):
            if since is None or since <= self._day:
                if isinstance(rates, str):
                    vendor, _, model = rates.partition("/")
                    return _listed_rates(listed_model(model, vendor), tier)
                return rates if rates is NOTHING or not tier else rates.service_tiers.get(tier)
        provider, _, model = target.partition("/")
        vendor_of = self._vendors.get(provider, PriceVendor())
        if vendor_of.free:
            return Rates(FREE, FREE)
        if not vendor_of.id and not vendor_of.url:
            return None
        return _listed_rates(listed_model(model, vendor_of.id, vendor_of.url), tier)

    def _configured(self, target: str) -> Dated:
        """The prices of a target in the YAML: those of its own name, else of the most specific pattern."""
        own = self._own.get(target)
        if own is not None:
            return own
        return next((dated for pattern, dated in self._patterns if pattern.fullmatch(target)), ())

    def settle(self, exchange: Exchange, unsettled: Unsettled) -> None:
        """Records the cost of the request's attempts. May be called again when more is known."""
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
            attempt.unpriced = rates is None or not rates.covers(attempt.usage)
            attempt.cost = rates.cost(attempt.usage) if rates is not None else FREE
            unpriced |= attempt.unpriced
            cost += attempt.cost
        exchange.cost, exchange.unpriced = (None if unpriced else cost), unpriced

    def cost_so_far(self, exchange: Exchange) -> Decimal | None:
        """The cost of the attempts so far; None if a price is unknown."""
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
    """Settles a finished request: records its cost, calls `finished` for its row, settles its ticket. Never raises."""
    try:
        if unsettled.due:
            prices.settle(exchange, unsettled)
        # The row comes first: if the process dies here, no budget has less spending than the ledger.
        if finished is not None:
            finished(exchange)
        if unsettled.ticket is not None:
            await unsettled.ticket.settle(exchange)
    except Exception as error:
        structlog.get_logger().error("a request could not be settled", problem=type(error).__name__)


def complete_usage(transcripts: Iterable[Transcript]) -> None:
    """Estimates the usage of responses that ended early, or whose provider reports no usage."""
    for transcript in transcripts:
        if transcript.request is not None:
            _complete(transcript, transcript.request)
            transcript.request, transcript.texts = None, []
            transcript.attempt.uncounted = False


def _complete(transcript: Transcript, request: ChatRequest | EmbeddingRequest) -> None:
    attempt, texts = transcript.attempt, transcript.texts
    has_output = bool(texts) or attempt.usage is not None
    ended_well = bool(attempt.ended) and not attempt.error
    if attempt.usage is not None and ended_well and not _lacks_counts(attempt.usage, texts):
        return
    if not has_output and not ended_well and not (attempt.sent and attempt.error in _ABANDONED):
        return  # it failed before it generated anything, which providers do not bill
    usage = attempt.usage or Usage()
    output = usage.output
    if not (output and ended_well):
        output = max(output, estimate_tokens("".join(texts)))
    prompt = usage.input
    if not prompt:
        prompt = size_of(request).prompt
    attempt.estimated = attempt.usage is None or (prompt, output) != (usage.input, usage.output)
    attempt.usage = msgspec.structs.replace(usage, input=prompt, output=output)


def _lacks_counts(usage: Usage, texts: Sequence[str]) -> bool:
    """Whether the provider reports zero tokens for a response with text, or for its prompt."""
    return any(texts) and not (usage.input and usage.output)


def is_priced_by(name: str, target: str) -> bool:
    """Whether an entry of `prices` matches a target; a more specific entry may take precedence."""
    return name == target or ("*" in name and _pattern(name).fullmatch(target) is not None)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)


def _listed_rates(info: Any, tier: str) -> Rates | None:
    """Today's rates of a model in the list; None if it has none for this tier, or none at all."""
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
    """Whether genai-prices has a price for this context; without this check it would return the standard price."""
    return any(
        each.when == context and (each.constraint is None or each.constraint.active(now))
        for each in info.price_variants or ()
    )


def _base(price: Any) -> Decimal | None:
    """The base price of a price that may have tiers."""
    if price is None:
        return None
    return Decimal(getattr(price, "base", price))


def _plain(listed: Any) -> bool:
    """Whether no price depends on the number of tokens, or on how many output tokens were reasoning."""
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
        # Inconsistent counts, such as more audio tokens than uncached tokens.
        return None
    return total
