"""The ticket of an admitted request: its reservations, and their settlement at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

import msgspec

from access.ledger.entry import reservation_of
from access.limits.counters import SLOTS, SPEND, Charge, LimitStatus, Settlement
from access.limits.estimate import USUAL_ANSWER, Size, size_of, size_with
from contract.deltas import Usage
from contract.errors import NO_PRICE, BudgetSpent, GatehouseError, OwnLimitReached, TooManyRequests
from contract.finding import Finding
from contract.messages import ChatRequest, EmbeddingRequest
from contract.rules import NANO, Allowance, LimitRule, ScopedRule
from contract.service_tier import asked_tier
from contract.units import write_amount

if TYPE_CHECKING:
    from access.limits.reservations import Charged, Reservations
    from contract.attempt import Attempt
    from contract.exchange import Exchange

_TOKENS = frozenset({"tokens", "input_tokens", "output_tokens"})
SLOTTED = frozenset({"parallel", "streams"})
_KIND_OF_LIMIT = {"requests": "requests", "tokens": "tokens", "input_tokens": "tokens", "output_tokens": "tokens"}


class QuotaTicket:
    """See `contract.ticket.Ticket`."""

    __slots__ = (
        "_alone", "_answer", "_attempts", "_charged", "_exchange", "_held", "_measured", "_opened", "_quota",
        "_recorded", "_refuse", "_reserved", "_size", "_stream", "model",
    )  # fmt: skip

    def __init__(
        self, quota: Reservations, exchange: Exchange, request: ChatRequest | EmbeddingRequest, size: Size | None
    ) -> None:
        """`size` is the size of `request`; None if no rule needs it."""
        self._quota = quota
        self._exchange = exchange
        self._size = size or Size(0, 0)
        self._measured = request if size is not None else None
        self._stream = isinstance(request, ChatRequest) and request.stream
        self._charged: list[Charged] = []
        self._alone = False
        self._answer = 0
        self._refuse = False
        self._reserved = 0
        # The size and cost bound of the first call, if there is one target: most attempts have the same.
        self._opened: tuple[tuple[object, ...], int] = ((), 0)
        # The cost bounds of attempts, by number; and their slots of providers.
        self._attempts: dict[int, int] = {}
        self._held: list[tuple[str, list[Charged], bool]] = []
        # The target and reserved cost that are recorded on disk; None if nothing is recorded.
        self._recorded: tuple[str, int] | None = None
        self.model = ""

    async def open(self, scoped_rules: Sequence[ScopedRule], targets: Sequence[str]) -> None:
        """See `Quota.admit`."""
        moneys = [each.rule for each in scoped_rules if each.rule.what == "spend"]
        # A shadow budget needs no bound, and does not affect the bound of others.
        self._answer = min((rule.answer for rule in moneys if rule.answer), default=0)
        # A target without a price is excluded for downgrades too: such a budget would never be used up.
        self._refuse = any(rule.refuse_unpriced and (not rule.soft or rule.downgrade) for rule in moneys)
        if moneys:
            self._reserved = self._quota.cost_bound(self._size, self._answer, targets, refuse=self._refuse)
            if len(targets) == 1:
                self._opened = (self._cost_key(targets[0], self._size), self._reserved)
        charged = [
            (scoped, self._quota.charge(scoped, self._amount(scoped.rule)))
            for scoped in scoped_rules
            if scoped.rule.what != "streams" or self._stream
        ]
        admitted, statuses, self._alone = await self._quota.reserve(self._exchange.ledger_id, charged)
        self._set_allowances(charged, statuses, admitted=admitted)
        self._notify_exhausted(charged, statuses)
        if not admitted:
            raise _refusal(charged, statuses)
        for (scoped, charge), status in zip(charged, statuses, strict=True):
            if status.wait_us:
                self._note_exceeded(scoped)
            # A charge beyond a rate or without a slot was not counted.
            if not status.wait_us or charge.kind == SPEND:
                self._charged.append((scoped, charge))
        if any(charge.kind == SLOTS for _, charge in self._charged):
            self._quota.hold(self)

    def slots(self) -> list[tuple[str, list[Charge]]]:
        """See `SlotHolder.slots`."""
        held = [] if self._alone else [(self._exchange.ledger_id, self._charged)]
        held += [(request, charged) for request, charged, alone in self._held if not alone]
        found = [
            (request, [msgspec.structs.replace(charge, hard=False) for _, charge in charged if charge.kind == SLOTS])
            for request, charged in held
        ]
        return [each for each in found if each[1]]

    def _notify_exhausted(self, charged: Sequence[Charged], statuses: Sequence[LimitStatus]) -> None:
        for (scoped, charge), status in zip(charged, statuses, strict=True):
            if status.wait_us and charge.kind == SPEND:
                self._quota.budget_exhausted(scoped, charge, charge.limit - status.left)

    def _amount(self, rule: LimitRule) -> int:
        if rule.what == "spend":
            return self._reserved
        if rule.what not in _TOKENS:
            return 1
        answers = self._size.answer_bound(USUAL_ANSWER)
        prompt = self._size.prompt
        return prompt if rule.what == "input_tokens" else answers if rule.what == "output_tokens" else prompt + answers

    def _note_exceeded(self, scoped: ScopedRule) -> None:
        rule = scoped.rule
        if rule.downgrade and not rule.shadow:
            self.model = rule.downgrade
        action = "downgrade" if rule.downgrade else "exceeded"
        guardrail = "budget" if rule.what == "spend" else "limit"
        finding = Finding(guardrail, f"{scoped.scope}:{rule.what}", action, "input", shadow=rule.shadow)
        self._exchange.findings.append(finding)

    def record_start(self, targets: Sequence[str]) -> None:
        """Records the request on disk before any of `targets` is called, in case the process dies."""
        if self._quota.begin is not None and self._exchange.caller is not None:
            allowed = [each for each in targets if not self.excludes(each, self._measured)]
            self._record(allowed[0] if len(allowed) == 1 else "", allowed)

    def _record(self, target: str, targets: Sequence[str]) -> None:
        begin = self._quota.begin
        if begin is None:
            return
        self._recorded = target, self._reserved
        counted = any(charge.kind == SPEND for _, charge in self._charged)
        known = counted and (self._reserved or self._quota.has_prices(targets))
        cost = self._reserved if known else None
        budgets: tuple[tuple[str, int, int], ...] = ()
        if counted and self._quota.outlives and not self._alone:
            budgets = tuple(
                [(each.key, each.window_us, each.ends_us) for _, each in self._charged if each.kind == SPEND]
            )
        begin(reservation_of(self._exchange, target, cost, stream=self._stream, budgets=budgets))

    def _set_allowances(self, charged: Sequence[Charged], statuses: Sequence[LimitStatus], *, admitted: bool) -> None:
        allowances = self._exchange.allowances
        for (scoped, charge), status in zip(charged, statuses, strict=True):
            kind = _KIND_OF_LIMIT.get(scoped.rule.what)
            if kind is None or not charge.hard:
                continue
            if not admitted and not status.wait_us:
                status = _without_charge(charge, status)
            before = allowances.get(kind)
            if before is None or status.left / charge.limit < before.left / before.limit:
                allowances[kind] = Allowance(scoped.rule.limit, status.left, status.reset_us / 1e6)

    def bounded(self, request: ChatRequest) -> ChatRequest:
        """See `Ticket.bounded`."""
        if self._answer and (request.max_tokens is None or request.max_tokens < 1):
            return msgspec.structs.replace(request, max_tokens=self._answer)
        return request

    def excludes(self, target: str, request: object) -> str:
        """See `Ticket.excludes`."""
        if not self._refuse:
            return ""
        tier = self._quota.unpriced(target, asked_tier(request.extra) if isinstance(request, ChatRequest) else "")
        return "" if tier is None else f"{NO_PRICE} (service tier {tier})" if tier else NO_PRICE

    async def cover(self, attempt: Attempt, request: object) -> None:
        """See `Ticket.cover`."""
        await self._enter(attempt)
        await self._cover(attempt, request)
        if self._recorded is not None and (not self._recorded[0] or self._recorded[1] < self._reserved):
            self._record(attempt.target, [attempt.target])

    async def _cover(self, attempt: Attempt, request: object) -> None:
        moneys = [each for each in self._charged if each[1].kind == SPEND]
        if not moneys or not isinstance(request, ChatRequest | EmbeddingRequest):
            return
        quota = self._quota
        size = self._size_of(request)
        if size.thoughts and attempt.dialect == "anthropic" and request.dialect != "anthropic":
            # The translation to Anthropic adds the reasoning budget to the output bound.
            size = msgspec.structs.replace(size, answers=size.answer_bound(self._answer) + size.thoughts)
        known, most = self._opened
        if known != self._cost_key(attempt.target, size):
            most = quota.cost_bound(size, self._answer, [attempt.target], refuse=self._refuse)
        needed = most
        for each in self._exchange.attempts:
            if each is not attempt:
                cost = quota.cost_of(each)
                needed += self._attempts.get(each.number, 0) if cost is None else cost
        self._attempts[attempt.number] = most
        more = needed - self._reserved
        if more <= 0:
            return
        extra = [(each, quota.charge(each, more)) for each, _ in moneys]
        # Charged to the period in which the request was admitted.
        extra = [(each, msgspec.structs.replace(before, amount=more)) for (each, _), (_, before) in
                 zip(extra, moneys, strict=True)]  # fmt: skip
        admitted, statuses, _ = await quota.reserve(self._exchange.ledger_id, extra)
        self._notify_exhausted(extra, statuses)
        if not admitted:
            raise _refusal(extra, statuses)
        self._reserved += more
        self._charged = [
            (each, msgspec.structs.replace(charge, amount=charge.amount + more))
            if charge.kind == SPEND
            else (each, charge)
            for each, charge in self._charged
        ]

    def _cost_key(self, target: str, size: Size) -> tuple[object, ...]:
        """Everything that the cost bound of a call depends on."""
        return target, size.most, size.answer_bound(self._answer), size.searches, size.tier

    def _size_of(self, request: ChatRequest | EmbeddingRequest) -> Size:
        """The size of an attempt's request; most attempts send the admitted request, whose size is known."""
        known = self._measured
        if not isinstance(request, ChatRequest) or not isinstance(known, ChatRequest):
            return size_of(request)
        # The parts that determine the size of the prompt; a bound on the output may have been added since.
        same = (
            request.messages is known.messages
            and request.tools is known.tools
            and request.response_format is known.response_format
            and request.extra is known.extra
        )
        return size_with(self._size.prompt, self._size.most, request) if same else size_of(request)

    async def _enter(self, attempt: Attempt) -> None:
        """Reserves the limits of the attempt's provider."""
        scoped_rules = self._quota.providers.get(attempt.provider)
        if not scoped_rules:
            return
        await self._leave()
        if self._size.prompt == 0 and any(each.rule.what in _TOKENS for each in scoped_rules):
            self._size = msgspec.structs.replace(self._size, prompt=_UNMEASURED_PROMPT)
        charged = [
            (scoped, self._quota.charge(scoped, self._amount(scoped.rule)))
            for scoped in scoped_rules
            if scoped.rule.what != "streams" or self._stream
        ]
        request = f"{self._exchange.ledger_id}/{attempt.number}"
        admitted, statuses, alone = await self._quota.reserve(request, charged)
        if not admitted:
            waits = [each.wait_us for each in statuses]
            raise OwnLimitReached("the configured limit of this provider is reached", retry_after_s=max(waits) / 1e6)
        held = [each for each, status in zip(charged, statuses, strict=True) if not status.wait_us]
        self._held.append((request, held, alone))
        if any(charge.kind == SLOTS for _, charge in held):
            self._quota.hold(self)

    async def _leave(self) -> None:
        """Frees the provider slots of finished attempts: a tool step must not wait for the previous one."""
        over = {each.number for each in self._exchange.attempts if each.ended}
        for place, (request, held, alone) in enumerate(self._held):
            free = [each for each in held if each[0].rule.what in SLOTTED]
            if free and int(request.rpartition("/")[2]) in over:
                self._held[place] = (request, [each for each in held if each not in free], alone)
                await self._quota.settle(
                    request, free, [Settlement(charge, 1) for _, charge in free], alone=alone, wait=True
                )

    async def settle(self, exchange: Exchange) -> None:
        """See `Ticket.settle`."""
        self._quota.release(self)
        spent = min(max(0, nanos(exchange.cost)), MOST_COST) if exchange.cost is not None else self._known_cost()
        used = _tokens_of(exchange)
        settled = [Settlement(charge, _actual(scoped.rule, charge, used, spent)) for scoped, charge in self._charged]
        if settled:
            await self._quota.settle(exchange.ledger_id, self._charged, settled, alone=self._alone)
        for request, charged, alone in self._held:
            number = int(request.rpartition("/")[2])
            attempt = next((each for each in exchange.attempts if each.number == number), None)
            usage = attempt.usage if attempt is not None and attempt.usage is not None else Usage()
            done = [Settlement(charge, _actual(scoped.rule, charge, usage, 0)) for scoped, charge in charged]
            if done:
                await self._quota.settle(request, charged, done, alone=alone)
        self._charged, self._held, self._recorded = [], [], None

    def _known_cost(self) -> int:
        """The cost of all attempts; an unknown cost counts as its reservation."""
        known = [(each.number, self._quota.cost_of(each)) for each in self._exchange.attempts]
        return sum([self._attempts.get(number, 0) if cost is None else cost for number, cost in known])


# The prompt size for a provider's token limits if the prompt is not measured.
_UNMEASURED_PROMPT = 500
# The most windows that one request can use.
_LONGEST_DEBT = 100
# An upper bound of the cost of a call, so that counters can't overflow. The ledger has the same bound.
MOST_COST = 100_000 * NANO


def _without_charge(charge: Charge, status: LimitStatus) -> LimitStatus:
    """The status of a rule with room for a request that another rule refused."""
    took = charge.window_us * charge.amount // charge.limit
    left = min(charge.limit, status.left + charge.amount)
    return LimitStatus(left, max(0, status.reset_us - took), 0)


def nanos(dollars: Decimal) -> int:
    """Billionths of a dollar, rounded up."""
    return int((dollars * NANO).to_integral_value(ROUND_CEILING))


def _tokens_of(exchange: Exchange) -> Usage:
    """The usage of all attempts together."""
    usages = [each.usage for each in exchange.attempts if each.usage is not None]
    if len(usages) == 1:
        return usages[0]
    return Usage(input=sum(each.input for each in usages), output=sum(each.output for each in usages))


def _actual(rule: LimitRule, charge: Charge, used: Usage, spent: int) -> int:
    if rule.what == "spend":
        return spent
    if rule.what not in _TOKENS:
        return charge.amount
    count = {"tokens": used.input + used.output, "input_tokens": used.input, "output_tokens": used.output}[rule.what]
    return min(count, _LONGEST_DEBT * rule.limit)


def noun_of(scoped: ScopedRule) -> str:
    """The name of a limit or budget in messages for the caller."""
    noun = "budget" if scoped.rule.what == "spend" else "limit"
    # A user is a hash and a key is an id, which mean nothing to the reader.
    return (
        f"{noun} of this {scoped.scope}"
        if scoped.scope in ("user", "key")
        else f"{noun} of {scoped.scope} {scoped.name}"
    )


def _refusal(charged: Sequence[Charged], statuses: Sequence[LimitStatus]) -> GatehouseError:
    """The error for the rule with the longest wait."""
    refusing = [
        (status, scoped, charge)
        for (scoped, charge), status in zip(charged, statuses, strict=True)
        if status.wait_us and charge.hard
    ]
    status, scoped, charge = max(refusing, key=lambda each: each[0].wait_us)
    wait_us, rule = status.wait_us, scoped.rule
    if rule.what == "spend":
        reason = f"it may cost {_dollars(charge.amount)} USD and {_dollars(status.left)} USD are left"
        cure = "; a smaller limit of output tokens may fit" if status.left else ""
        return BudgetSpent(f"The {noun_of(scoped)} ({rule.text}) has no room for this request: {reason}{cure}")
    if rule.what in SLOTTED:
        what = "requests" if rule.what == "parallel" else "streams"
        return TooManyRequests(f"The {noun_of(scoped)} is {rule.limit} {what} at a time", retry_after_s=1.0)
    wait_s = wait_us / 1e6
    return TooManyRequests(
        f"The {noun_of(scoped)} is {rule.text} ({rule.what.replace('_', ' ')}); try again in {math.ceil(wait_s)} s",
        retry_after_s=wait_s,
    )


def _dollars(amount: int) -> str:
    """Nano-dollars as US dollars, for people."""
    return write_amount(Decimal(amount) / NANO)
