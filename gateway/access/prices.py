"""What a request has cost: exact decimals of a US dollar, by the prices of the YAML, else by those of genai-prices.

The list ships with that package: nothing is asked of the network. A price that is not known is a state of its own, and
never 0.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.access.usage import complete_usage

if TYPE_CHECKING:
    from gateway.contract.deltas import Usage
    from gateway.contract.exchange import Exchange

MILLION = Decimal(1_000_000)
FREE = Decimal(0)
_SPENT = ("miss", "off")


class Rates(msgspec.Struct, frozen=True):
    """US dollars for a million tokens; None costs as the prompt does. `listed` is genai-prices' own, for odd tokens."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    listed: Any = None
    tiered: bool = False

    def cost(self, usage: Usage) -> Decimal:
        """Of one answer."""
        if self.listed is not None and (usage.audio_input or usage.audio_output or self.tiered):
            return _listed_cost(self.listed, usage)
        fresh = usage.input - usage.cache_read - usage.cache_write
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        dollars = fresh * self.input + usage.cache_read * read + usage.cache_write * write + usage.output * self.output
        return dollars / MILLION

    def most(self, usage: Usage) -> Decimal:
        """The most that an answer of `usage` may cost, whatever of its prompt is read from a cache or written."""
        if self.tiered:
            return max(self.cost(usage), self._flat(usage))
        return self._flat(usage)

    def _flat(self, usage: Usage) -> Decimal:
        dearest = max(self.input, self.cache_read or FREE, self.cache_write or FREE)
        return (usage.input * dearest + usage.output * self.output) / MILLION


class Vendor(msgspec.Struct, frozen=True):
    """Whose price list holds for a provider: by its id in genai-prices or by its address; `free` costs nothing."""

    id: str = ""
    url: str = ""
    free: bool = False


class Prices:
    """Of all targets. Looks each up once a day."""

    def __init__(self, own: Mapping[str, Rates], vendors: Mapping[str, Vendor]) -> None:
        """`own` by target (`provider/model`), `vendors` by provider."""
        self._own = dict(own)
        self._vendors = dict(vendors)
        self._found: dict[str, Rates | None] = {}
        self._day = datetime.date.min
        self._looking = threading.Lock()

    def rates(self, target: str) -> Rates | None:
        """The rates of a target today; None where they are not known."""
        if target in self._own:
            return self._own[target]
        today = datetime.datetime.now(tz=datetime.UTC).date()
        with self._looking:
            if today != self._day:
                self._found, self._day = {}, today
            if target not in self._found:
                self._found[target] = self._look_up(target)
            return self._found[target]

    def learn(self, targets: Iterable[str]) -> None:
        """Looks up ahead, in a thread: the list takes a third of a second to load."""
        for target in targets:
            self.rates(target)

    def _look_up(self, target: str) -> Rates | None:
        provider, _, model = target.partition("/")
        vendor = self._vendors.get(provider, Vendor())
        if vendor.free:
            return Rates(FREE, FREE)
        if not vendor.id and not vendor.url:
            return None
        from genai_prices.data_snapshot import get_snapshot

        try:
            _, info = get_snapshot().find_provider_model(model, None, vendor.id or None, vendor.url or None)
        except LookupError:
            return None
        listed = info.get_prices(datetime.datetime.now(tz=datetime.UTC))
        rate = {name: _base(getattr(listed, f"{name}_mtok", None)) for name in ("input", "output")}
        if rate["input"] is None:
            return None
        return Rates(
            rate["input"],
            rate["output"] or FREE,
            _base(getattr(listed, "cache_read_mtok", None)),
            _base(getattr(listed, "cache_write_mtok", None)),
            listed,
            not _plain(listed),
        )

    def settle(self, exchange: Exchange) -> None:
        """Writes into the ledger what its attempts have cost. May be called again when more is known."""
        complete_usage(exchange)
        if not exchange.attempts and exchange.cache is not None and exchange.cache.kind not in _SPENT:
            exchange.cost = FREE
            return
        cost, unpriced = FREE, False
        for attempt in exchange.attempts:
            if attempt.usage is None:
                continue
            rates = self.rates(attempt.target)
            attempt.unpriced = rates is None
            attempt.cost = rates.cost(attempt.usage) if rates is not None else FREE
            unpriced |= attempt.unpriced
            cost += attempt.cost
        exchange.cost, exchange.unpriced = (None if unpriced else cost), unpriced


def _base(price: Any) -> Decimal | None:
    """A price that may have tiers."""
    if price is None:
        return None
    return Decimal(getattr(price, "base", price))


def _plain(listed: Any) -> bool:
    """Whether no price of it depends on how many tokens there are."""
    return not any(
        hasattr(getattr(listed, f"{name}_mtok", None), "tiers")
        for name in ("input", "output", "cache_read", "cache_write")
    )


def _listed_cost(listed: Any, usage: Usage) -> Decimal:
    from genai_prices import Usage as Counted

    counted = Counted(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        input_audio_tokens=usage.audio_input,
        output_audio_tokens=usage.audio_output,
    )
    total: Decimal = listed.calc_price(counted)["total_price"]
    return total
