"""What one request was admitted with: what it has reserved, of whom, and what becomes of that at its end."""

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
        "_alone", "_answer", "_attempts", "_charged", "_exchange", "_held", "_kept", "_measured", "_opened", "_quota",
        "_refuse", "_reserved", "_size", "_stream", "model",
    )  # fmt: skip

    def __init__(
        self, quota: Reservations, exchange: Exchange, request: ChatRequest | EmbeddingRequest, size: Size | None
    ) -> None:
        """`size` is that of `request`, None where no rule needs it."""
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
        # What the only target was asked for at first, and what that may cost: most attempts are just that.
        self._opened: tuple[tuple[object, ...], int] = ((), 0)
        # What attempts may cost at most, by number; and what they hold of their providers.
        self._attempts: dict[int, int] = {}
        self._held: list[tuple[str, list[Charged], bool]] = []
        # What is on disk of it: its target, and what it had reserved. None where nothing has to be.
        self._kept: tuple[str, int] | None = None
        self.model = ""

    async def open(self, bounds: Sequence[ScopedRule], targets: Sequence[str]) -> None:
        """See `Quota.admit`."""
        moneys = [each.rule for each in bounds if each.rule.what == "spend"]
        # A budget in the shadow asks for no bound, and takes none from the others.
        self._answer = min((rule.answer for rule in moneys if rule.answer), default=0)
        # What nobody can count would never lead to another model either.
        self._refuse = any(rule.refuse_unpriced and (not rule.soft or rule.downgrade) for rule in moneys)
        if moneys:
            self._reserved = self._quota.cost_bound(self._size, self._answer, targets, refuse=self._refuse)
            if len(targets) == 1:
                self._opened = (self._asked(targets[0], self._size), self._reserved)
        charged = [
            (bound, self._quota.demand(bound, self._amount(bound.rule)))
            for bound in bounds
            if bound.rule.what != "streams" or self._stream
        ]
        admitted, standings, self._alone = await self._quota.reserve(self._exchange.ledger_id, charged)
        self._tell(charged, standings, admitted=admitted)
        self._notify_exhausted(charged, standings)
        if not admitted:
            raise _refusal(charged, standings)
        for (bound, demand), standing in zip(charged, standings, strict=True):
            if standing.wait_us:
                self._over(bound)
            # What was over a rate or had no slot was not counted.
            if not standing.wait_us or demand.kind == SPEND:
                self._charged.append((bound, demand))
        if any(demand.kind == SLOTS for _, demand in self._charged):
            self._quota.hold(self)

    def slots(self) -> list[tuple[str, list[Charge]]]:
        """What it holds of what is counted at a time, by the name that it is held under."""
        held = [] if self._alone else [(self._exchange.ledger_id, self._charged)]
        held += [(request, charged) for request, charged, alone in self._held if not alone]
        found = [
            (request, [msgspec.structs.replace(demand, hard=False) for _, demand in charged if demand.kind == SLOTS])
            for request, charged in held
        ]
        return [each for each in found if each[1]]

    def _notify_exhausted(self, charged: Sequence[Charged], standings: Sequence[LimitStatus]) -> None:
        for (bound, demand), standing in zip(charged, standings, strict=True):
            if standing.wait_us and demand.kind == SPEND:
                self._quota.budget_exhausted(bound, demand, demand.limit - standing.left)

    def _amount(self, rule: LimitRule) -> int:
        if rule.what == "spend":
            return self._reserved
        if rule.what not in _TOKENS:
            return 1
        answers = self._size.answer_bound(USUAL_ANSWER)
        prompt = self._size.prompt
        return prompt if rule.what == "input_tokens" else answers if rule.what == "output_tokens" else prompt + answers

    def _over(self, bound: ScopedRule) -> None:
        rule = bound.rule
        if rule.downgrade and not rule.shadow:
            self.model = rule.downgrade
        action = "downgrade" if rule.downgrade else "exceeded"
        guardrail = "budget" if rule.what == "spend" else "limit"
        finding = Finding(guardrail, f"{bound.scope}:{rule.what}", action, "input", shadow=rule.shadow)
        self._exchange.findings.append(finding)

    def keep(self, targets: Sequence[str]) -> None:
        """Sees to it that the request is known of if this process dies, before anything is asked of `targets`."""
        if self._quota.begin is not None and self._exchange.caller is not None:
            asked = [each for each in targets if not self.excludes(each, self._measured)]
            self._keep(asked[0] if len(asked) == 1 else "", asked)

    def _keep(self, target: str, targets: Sequence[str]) -> None:
        begin = self._quota.begin
        if begin is None:
            return
        self._kept = target, self._reserved
        counted = any(demand.kind == SPEND for _, demand in self._charged)
        known = counted and (self._reserved or self._quota.knows(targets))
        cost = self._reserved if known else None
        budgets: tuple[tuple[str, int, int], ...] = ()
        if counted and self._quota.outlives and not self._alone:
            budgets = tuple(
                [(each.key, each.window_us, each.ends_us) for _, each in self._charged if each.kind == SPEND]
            )
        begin(reservation_of(self._exchange, target, cost, stream=self._stream, budgets=budgets))

    def _tell(self, charged: Sequence[Charged], standings: Sequence[LimitStatus], *, admitted: bool) -> None:
        told = self._exchange.allowances
        for (bound, demand), standing in zip(charged, standings, strict=True):
            kind = _KIND_OF_LIMIT.get(bound.rule.what)
            if kind is None or not demand.hard:
                continue
            if not admitted and not standing.wait_us:
                standing = _untaken(demand, standing)
            before = told.get(kind)
            if before is None or standing.left / demand.limit < before.left / before.limit:
                told[kind] = Allowance(bound.rule.limit, standing.left, standing.reset_us / 1e6)

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
        if self._kept is not None and (not self._kept[0] or self._kept[1] < self._reserved):
            self._keep(attempt.target, [attempt.target])

    async def _cover(self, attempt: Attempt, request: object) -> None:
        moneys = [each for each in self._charged if each[1].kind == SPEND]
        if not moneys or not isinstance(request, ChatRequest | EmbeddingRequest):
            return
        quota = self._quota
        size = self._size_of(request)
        if size.thoughts and attempt.dialect == "anthropic" and request.dialect != "anthropic":
            # Its room for thoughts is asked for beside the answer's.
            size = msgspec.structs.replace(size, answers=size.answer_bound(self._answer) + size.thoughts)
        known, bound = self._opened
        if known != self._asked(attempt.target, size):
            bound = quota.cost_bound(size, self._answer, [attempt.target], refuse=self._refuse)
        needed = bound
        for each in self._exchange.attempts:
            if each is not attempt:
                cost = quota.cost_of(each)
                needed += self._attempts.get(each.number, 0) if cost is None else cost
        self._attempts[attempt.number] = bound
        more = needed - self._reserved
        if more <= 0:
            return
        asked = [(each, quota.demand(each, more)) for each, _ in moneys]
        # Its own period is the one in which the request was admitted.
        asked = [(each, msgspec.structs.replace(before, amount=more)) for (each, _), (_, before) in
                 zip(asked, moneys, strict=True)]  # fmt: skip
        admitted, standings, _ = await quota.reserve(self._exchange.ledger_id, asked)
        self._notify_exhausted(asked, standings)
        if not admitted:
            raise _refusal(asked, standings)
        self._reserved += more
        self._charged = [
            (each, msgspec.structs.replace(demand, amount=demand.amount + more))
            if demand.kind == SPEND
            else (each, demand)
            for each, demand in self._charged
        ]

    def _asked(self, target: str, size: Size) -> tuple[object, ...]:
        """What the most that a call may cost depends on."""
        return target, size.most, size.answer_bound(self._answer), size.searches, size.tier

    def _size_of(self, request: ChatRequest | EmbeddingRequest) -> Size:
        """Most attempts ask just what was admitted."""
        known = self._measured
        if not isinstance(request, ChatRequest) or not isinstance(known, ChatRequest):
            return size_of(request)
        # What a prompt is measured by; a bound on the answer may have come since.
        same = (
            request.messages is known.messages
            and request.tools is known.tools
            and request.response_format is known.response_format
            and request.extra is known.extra
        )
        return size_with(self._size.prompt, self._size.most, request) if same else size_of(request)

    async def _enter(self, attempt: Attempt) -> None:
        """A place with the attempt's provider."""
        bounds = self._quota.providers.get(attempt.provider)
        if not bounds:
            return
        await self._leave()
        if self._size.prompt == 0 and any(each.rule.what in _TOKENS for each in bounds):
            self._size = msgspec.structs.replace(self._size, prompt=_AT_LEAST_A_PROMPT)
        charged = [
            (bound, self._quota.demand(bound, self._amount(bound.rule)))
            for bound in bounds
            if bound.rule.what != "streams" or self._stream
        ]
        request = f"{self._exchange.ledger_id}/{attempt.number}"
        admitted, standings, alone = await self._quota.reserve(request, charged)
        if not admitted:
            waits = [each.wait_us for each in standings]
            raise OwnLimitReached("our own limit for this provider is reached", retry_after_s=max(waits) / 1e6)
        held = [each for each, standing in zip(charged, standings, strict=True) if not standing.wait_us]
        self._held.append((request, held, alone))
        if any(demand.kind == SLOTS for _, demand in held):
            self._quota.hold(self)

    async def _leave(self) -> None:
        """Frees the places of attempts that are over: a step of tools must not wait for the one before it."""
        over = {each.number for each in self._exchange.attempts if each.ended}
        for place, (request, held, alone) in enumerate(self._held):
            free = [each for each in held if each[0].rule.what in SLOTTED]
            if free and int(request.rpartition("/")[2]) in over:
                self._held[place] = (request, [each for each in held if each not in free], alone)
                await self._quota.settle(
                    request, free, [Settlement(demand, 1) for _, demand in free], alone=alone, wait=True
                )

    async def settle(self, exchange: Exchange) -> None:
        """See `Ticket.settle`."""
        self._quota.let_go(self)
        spent = min(max(0, nanos(exchange.cost)), MOST_COST) if exchange.cost is not None else self._known_cost()
        used = _tokens_of(exchange)
        settled = [Settlement(demand, _actual(bound.rule, demand, used, spent)) for bound, demand in self._charged]
        if settled:
            await self._quota.settle(exchange.ledger_id, self._charged, settled, alone=self._alone)
        for request, charged, alone in self._held:
            number = int(request.rpartition("/")[2])
            attempt = next((each for each in exchange.attempts if each.number == number), None)
            usage = attempt.usage if attempt is not None and attempt.usage is not None else Usage()
            done = [Settlement(demand, _actual(bound.rule, demand, usage, 0)) for bound, demand in charged]
            if done:
                await self._quota.settle(request, charged, done, alone=alone)
        self._charged, self._held, self._kept = [], [], None

    def _known_cost(self) -> int:
        """What is not known counts as what was reserved for it."""
        known = [(each.number, self._quota.cost_of(each)) for each in self._exchange.attempts]
        return sum([self._attempts.get(number, 0) if cost is None else cost for number, cost in known])


# A provider's limit of tokens where nothing else has measured the prompt.
_AT_LEAST_A_PROMPT = 500
# How many windows one request can take at most.
_LONGEST_DEBT = 100
# No call costs more, whatever it asks for or its provider says: counters must be able to add it up. As in the ledger.
MOST_COST = 100_000 * NANO


def _untaken(demand: Charge, standing: LimitStatus) -> LimitStatus:
    """How a rule stands that had room for a request which another one refused."""
    took = demand.window_us * demand.amount // demand.limit
    left = min(demand.limit, standing.left + demand.amount)
    return LimitStatus(left, max(0, standing.reset_us - took), 0)


def nanos(dollars: Decimal) -> int:
    """Billionths of a dollar, rounded up."""
    return int((dollars * NANO).to_integral_value(ROUND_CEILING))


def _tokens_of(exchange: Exchange) -> Usage:
    """What all attempts have used together."""
    usages = [each.usage for each in exchange.attempts if each.usage is not None]
    if len(usages) == 1:
        return usages[0]
    return Usage(input=sum(each.input for each in usages), output=sum(each.output for each in usages))


def _actual(rule: LimitRule, demand: Charge, used: Usage, spent: int) -> int:
    if rule.what == "spend":
        return spent
    if rule.what not in _TOKENS:
        return demand.amount
    count = {"tokens": used.input + used.output, "input_tokens": used.input, "output_tokens": used.output}[rule.what]
    return min(count, _LONGEST_DEBT * rule.limit)


def noun_of(bound: ScopedRule) -> str:
    """What refuses, in words for its caller."""
    noun = "budget" if bound.rule.what == "spend" else "limit"
    # A user's name is a hash, and a key's an id: neither tells its reader anything.
    return (
        f"{noun} of this {bound.scope}" if bound.scope in ("user", "key") else f"{noun} of {bound.scope} {bound.name}"
    )


def _refusal(charged: Sequence[Charged], standings: Sequence[LimitStatus]) -> GatehouseError:
    """The error for the rule that would let the request wait longest."""
    refusing = [
        (standing, bound, demand)
        for (bound, demand), standing in zip(charged, standings, strict=True)
        if standing.wait_us and demand.hard
    ]
    standing, bound, demand = max(refusing, key=lambda each: each[0].wait_us)
    wait_us, rule = standing.wait_us, bound.rule
    if rule.what == "spend":
        told = f"it may cost {_dollars(demand.amount)} USD and {_dollars(standing.left)} are left"
        cure = "; a smaller bound on the answer may fit" if standing.left else ""
        return BudgetSpent(f"The {noun_of(bound)} ({rule.text}) leaves no room for this request: {told}{cure}")
    if rule.what in SLOTTED:
        what = "requests" if rule.what == "parallel" else "streams"
        return TooManyRequests(f"The {noun_of(bound)} is {rule.limit} {what} at a time", retry_after_s=1.0)
    wait_s = wait_us / 1e6
    return TooManyRequests(
        f"The {noun_of(bound)} is {rule.text} ({rule.what.replace('_', ' ')}); try again in {math.ceil(wait_s)} s",
        retry_after_s=wait_s,
    )


def _dollars(amount: int) -> str:
    """Nano-dollars for people."""
    return write_amount(Decimal(amount) / NANO)
