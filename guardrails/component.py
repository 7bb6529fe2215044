"""The base class of guardrail configs: a kind's options, and the checks that it builds from them.

A kind subclasses `Guardrail`, declares its options as fields, and overrides the methods of the checks that it supports.
The class goes into the kind's own module; the catalog needs one line for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from config.guardrails import GuardrailConfig
from guardrails.embedding_memo import EmbeddingMemo
from guardrails.verdict import Policy
from guardrails.webhook import Handover

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.egress import Egress
    from contract.embedding import Embeds
    from contract.pools import Pools
    from guardrails.checks import AnswerCheck, AnswerFinder, InputCheck, RequestMasker
    from guardrails.masking.conversations import RowStore
    from guardrails.personal.tagger_thread import TaggerThread
    from guardrails.verdict import Action

T = TypeVar("T")
DEFAULT_WORDS = "I can't help with that."
HUMAN_WORDS = "I am handing this over to a person, who will answer you."


class GuardrailServices(Protocol):
    """The process-wide services that guardrails use, opened on first use."""

    pools: Pools
    egress: Egress

    def embedder(self) -> Embeds:
        """The embedding model."""
        ...

    def tagger(self) -> TaggerThread:
        """The model that finds names and addresses. Raises `ValueError` if it is not available."""
        ...

    def state(self, owner: str, what: type[T]) -> T:
        """State under a guardrail's name that survives a reload; the first call creates it without arguments."""
        ...

    def rows(self, redis_url: str | None) -> RowStore:
        """The store for the values of conversations: in Redis, or in memory."""
        ...


class GuardrailParts:
    """What the guardrails of one pipeline are built with."""

    def __init__(self, services: GuardrailServices, redis_url: str | None = None) -> None:
        self.pools = services.pools
        self.egress = services.egress
        self._services = services
        self._redis_url = redis_url
        self._embeddings: EmbeddingMemo | None = None

    def embeddings(self) -> EmbeddingMemo:
        """Embeddings, computed once per text for all guardrails of the pipeline."""
        if self._embeddings is None:
            self._embeddings = EmbeddingMemo(self._services.embedder())
        return self._embeddings

    def tagger(self) -> TaggerThread:
        """See `GuardrailServices.tagger`."""
        return self._services.tagger()

    def state(self, owner: str, what: type[T]) -> T:
        """See `GuardrailServices.state`."""
        return self._services.state(owner, what)

    def rows(self) -> RowStore:
        """The store for the values of conversations."""
        return self._services.rows(self._redis_url)


class Guardrail(GuardrailConfig):
    """The base class of every kind. Each method builds the kind's check for one place; None if it has none.

    All methods raise `ValueError` for options that are invalid only in combination or on use. `name` is the guardrail's
    name in the configuration.
    """

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck | RequestMasker | None:
        """Checks or changes a request, the context added to it, and tool results."""
        return None

    def stream_check(self, name: str, parts: GuardrailParts) -> AnswerFinder | None:
        """Searches an answer while it streams; a few characters are held back."""
        return None

    def sentence_check(self, name: str, parts: GuardrailParts) -> AnswerCheck | None:
        """Judges an answer sentence by sentence; each sentence is held back until it has been judged."""
        return None

    def answer_check(self, name: str, parts: GuardrailParts) -> AnswerCheck | None:
        """Judges the complete answer, which is held back; may call the model again."""
        return None

    def policy(
        self, name: str, parts: GuardrailParts, actions: Mapping[str, str] | None = None, say: str = HUMAN_WORDS
    ) -> Policy:
        """The actions by rule, `*` for all others; without `actions` the first step of `then`.

        `say` is the answer that the caller gets when a person takes over.
        """
        if actions is None:
            step, text = self.ordered_steps[0]
            actions = {"*": step}
            say = text or (HUMAN_WORDS if step == "human" else DEFAULT_WORDS)
        webhook = self.webhook
        handover = None
        if webhook is not None:
            handover = Handover(webhook.reveal(), parts.pools.webhook_calls, parts.egress)
        return Policy(
            name,
            cast("Mapping[str, Action]", actions),
            say=say,
            shadow=self.shadow,
            fail_open=self.on_error == "open",
            timeout_s=self.timeout,
            handover=handover,
        )
