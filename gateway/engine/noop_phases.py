"""No-op phases: a route uses them for the phases that its config omits. They cost almost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.phases import Answer, AugmentedRequest, Decision

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.guards import AskAgain
    from contract.messages import ChatRequest, EmbeddingRequest, Tool
    from contract.passages import Passage
    from contract.phases import GuardedCalls, MakesAnswer
    from contract.reply import OutputFilter, Reply
    from contract.unsettled import Unsettled


class Unguarded:
    """A request without guardrails. Implements `contract.guards.Guarded`."""

    __slots__ = ("answer", "request")

    def __init__(self, request: ChatRequest) -> None:
        self.request = request
        self.answer: Reply | None = None

    async def add(self, request: ChatRequest) -> ChatRequest:
        """See `Guarded.add`."""
        self.request = request
        return request

    def reveal(self, request: ChatRequest) -> ChatRequest:
        """See `Guarded.reveal`: nothing is masked."""
        return request

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """See `Guarded.reveal_arguments`: nothing is masked."""
        return arguments

    async def check(self, reply: Reply, again: AskAgain) -> Reply:
        """See `Guarded.check`."""
        return reply

    def filters(self) -> tuple[OutputFilter, ...]:
        """See `Guarded.filters`."""
        return ()


class NoGuards:
    """Implements `contract.guards.Guards`."""

    async def open(self, request: ChatRequest, exchange: Exchange, again: AskAgain) -> Unguarded:
        """See `Guards.open`."""
        return Unguarded(request)

    async def embed(self, request: EmbeddingRequest, exchange: Exchange) -> EmbeddingRequest:
        """See `Guards.embed`."""
        return request


class NoRouting:
    """Implements `contract.phases.Routing`."""

    headers: frozenset[str] = frozenset()

    async def start(self) -> None:
        """See `Routing.start`."""

    async def close(self) -> None:
        """See `Routing.close`."""

    def status(self) -> str:
        """See `Routing.status`."""
        return "ready"

    async def ready(self) -> bool:
        """See `Routing.ready`."""
        return True

    def rule(self, request: ChatRequest, exchange: Exchange) -> Decision | None:
        """See `Routing.rule`."""
        return None

    async def decide(self, request: ChatRequest, exchange: Exchange, ask_model: AskAgain) -> Decision:
        """See `Routing.decide`: the pipeline's own model."""
        return Decision()


class NoCache:
    """No cache: every request is a miss and makes its own call. Implements `ResponseCache` and `Miss`."""

    lacks_question = False

    async def lookup(self, request: ChatRequest, exchange: Exchange, variant: str = "") -> NoCache:
        """See `Recall.lookup`."""
        return self

    async def compare(self, question: str) -> NoCache:
        """See `Miss.compare`."""
        return self

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        """See `Miss.share`."""
        return await make()


class NoContext:
    """Implements `contract.phases.Context`."""

    async def construct(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> AugmentedRequest:
        """See `Context.construct`."""
        return AugmentedRequest(request)

    async def standalone(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> str:
        """See `Context.standalone`."""
        return ""

    def fit(self, request: ChatRequest, window: int) -> ChatRequest:
        """See `Context.fit`: there are no passages to leave out."""
        return request

    def citations(self, passages: tuple[Passage, ...]) -> tuple[OutputFilter, ...]:
        """See `Context.citations`."""
        return ()


class NoTools:
    """Implements `contract.phases.GatewayTools`."""

    steps = 0
    definitions: tuple[Tool, ...] = ()

    def offer(self, request: ChatRequest) -> tuple[ChatRequest, frozenset[str]]:
        """See `OwnTools.offer`."""
        return request, _NO_NAMES

    def only(self, names: tuple[str, ...]) -> NoTools:
        """See `OwnTools.only`."""
        return self

    async def call(self, name: str, arguments: str, exchange: Exchange) -> str:
        """See `OwnTools.call`: never called, because no tools are offered."""
        return "The tool does not exist"


_NO_NAMES: frozenset[str] = frozenset()
NO_GUARDS = NoGuards()
NO_ROUTING = NoRouting()
NO_CACHE = NoCache()
NO_CONTEXT = NoContext()
NO_TOOLS = NoTools()
