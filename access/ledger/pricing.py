"""Prices of targets from the config, and the targets that budgets exclude because their price is unknown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from access.ledger.prices import NOTHING, Prices, PriceVendor, Rates
from config.prices import FREE
from config.reach import holders_of_budgets, models_of_apps

if TYPE_CHECKING:
    from config.access import AppConfig, BudgetConfig
    from config.prices import PriceConfig
    from config.providers import ProviderBase
    from config.root import Config


class Unpriced(msgspec.Struct, frozen=True):
    """A target without the price that budgets of `apps` need. `alone`: no target of its model has one."""

    model: str
    place: int
    target: str
    apps: tuple[str, ...]
    alone: bool


def prices_of(config: Config) -> Prices:
    """The prices of all targets."""
    own = {name: [(each.since, _price_entry(each)) for each in dated] for name, dated in config.prices.items()}
    return Prices(own, {name: _vendor(each) for name, each in config.providers.items()})


def _price_entry(price: PriceConfig) -> Rates | str:
    if price.prices_as is not None:
        return NOTHING if price.prices_as == FREE else price.prices_as
    return _rates(price)


def _rates(price: PriceConfig) -> Rates:
    """The rates of a price entry; a service tier has only the prices that it lists."""
    assert price.input is not None and price.output is not None  # noqa: PT018 - the config has checked both
    return Rates(
        price.input,
        price.output,
        price.cache_read,
        price.cache_write,
        price.cache_write_1h,
        price.audio_input,
        price.audio_output,
        price.image_input,
        price.image_output,
        price.reasoning,
        price.searches,
        tuple((tier.above, Rates(tier.input, tier.output, tier.cache_read, tier.cache_write)) for tier in price.tiers),
        {
            name: Rates(each.input, each.output, each.cache_read, each.cache_write, reasoning=each.reasoning)
            for name, each in price.service_tiers.items()
        },
    )


def _vendor(config: ProviderBase) -> PriceVendor:
    """The vendor whose listed prices apply. A server that only uses a vendor's API is recognised by its address."""
    if config.free or config.price_list:
        return PriceVendor(config.price_list, free=config.free)
    return PriceVendor(url=config.network.address if config.network is not None else "")


def preload_prices(config: Config, prices: Prices) -> None:
    """Loads all prices in advance, in a thread, and logs targets that budgets exclude."""
    prices.preload({each.target for model in config.models.values() for each in model.targets})
    import structlog  # not needed by `gatehouse check`

    for each in unpriced(config, prices):
        structlog.get_logger().warning(
            "the price of a target is unknown", target=each.target, model=each.model, apps=list(each.apps[:10])
        )


def unpriced(config: Config, prices: Prices) -> Iterator[Unpriced]:
    """Yields every target that budgets of apps exclude."""
    budgeted = [name for name, app in config.apps.items() if needs_prices(config, app)]
    if not budgeted:
        return
    reached = models_of_apps(config, budgeted)
    for name, apps in reached.items():
        targets = config.models[name].targets
        missing = [place for place, each in enumerate(targets) if prices.rates(each.target) is None]
        for place in missing:
            yield Unpriced(name, place, targets[place].target, apps, len(missing) == len(targets))


def needs_prices(config: Config, app: AppConfig) -> bool:
    """Whether a budget that applies to an app's requests refuses targets without a price."""
    return any(_refuses(each) for holder in holders_of_budgets(config, app) for each in holder.budget)


def _refuses(budget: BudgetConfig) -> bool:
    return budget.unknown_price == "refuse" and not budget.shadow and budget.then == "reject"


def unpriced_targets(config: Config, model: str) -> Mapping[str, Collection[str]]:
    """The targets of `model` without a price, each with the apps whose budgets exclude it; for the plan."""
    if not any(needs_prices(config, app) for app in config.apps.values()):
        return {}
    return {each.target: each.apps for each in unpriced(config, prices_of(config)) if each.model == model}
