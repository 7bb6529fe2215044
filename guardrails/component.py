"""What the config of a guardrail is made from: its options, and the checks that it builds from them.

A kind subclasses `Guardrail`, names its options as fields, and overrides the methods of the checks that it has. The
class belongs into the kind's own module, and one line into the catalog.
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


class Shared(Protocol):
    """What guardrails share with the rest of the process, opened when first asked for."""

    pools: Pools
    egress: Egress

    def embedder(self) -> Embeds:
        """The embedding model."""
        ...

    def tagger(self) -> TaggerThread:
        """The model of names and addresses. Raises `ValueError` where it can't be had."""
        ...

    def kept(self, owner: str, what: type[T]) -> T:
        """What outlives a reload under a guardrail's name; made without arguments at the first call."""
        ...

    def rows(self, redis_url: str | None) -> RowStore:
        """Where what conversations leave behind is kept: in a Redis, or here."""
        ...


class GuardrailParts:
    """What the guardrails of one pipeline are built with."""

    def __init__(self, shared: Shared, redis_url: str | None = None) -> None:
        self.pools = shared.pools
        self.egress = shared.egress
        self._shared = shared
        self._redis_url = redis_url
        self._embeddings: EmbeddingMemo | None = None

    def embeddings(self) -> EmbeddingMemo:
        """Embeddings of texts: one of a text serves every guardrail of the pipeline."""
        if self._embeddings is None:
            self._embeddings = EmbeddingMemo(self._shared.embedder())
        return self._embeddings

    def tagger(self) -> TaggerThread:
        """See `Shared.tagger`."""
        return self._shared.tagger()

    def kept(self, owner: str, what: type[T]) -> T:
        """See `Shared.kept`."""
        return self._shared.kept(owner, what)

    def rows(self) -> RowStore:
        """Where what conversations leave behind is kept."""
        return self._shared.rows(self._redis_url)


class Guardrail(GuardrailConfig):
    """The base of every kind. Each method gives the check that the kind has at that place; None for none.

    All of them raise `ValueError` for options that only show to be wrong when they are used. `name` is the guardrail's
    name in the configuration.
    """

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck | RequestMasker | None:
        """Checks or changes a request on its way in, what the context adds to it, and results of tools."""
        return None

    def stream_check(self, name: str, parts: GuardrailParts) -> AnswerFinder | None:
        """Searches an answer while it streams; a few characters are held back."""
        return None

    def sentence_check(self, name: str, parts: GuardrailParts) -> AnswerCheck | None:
        """Judges an answer sentence by sentence; each is held back until it is judged."""
        return None

    def answer_check(self, name: str, parts: GuardrailParts) -> AnswerCheck | None:
        """Judges the whole answer, which is held back; may ask again."""
        return None

    def policy(
        self, name: str, parts: GuardrailParts, actions: Mapping[str, str] | None = None, say: str = HUMAN_WORDS
    ) -> Policy:
        """What is done with findings: by what was found, `*` for all else; without `actions` the first step of `then`.

        `say` is what the caller reads when a person is to answer.
        """
        if actions is None:
            step, words = self.ordered_steps[0]
            actions = {"*": step}
            say = words or (HUMAN_WORDS if step == "human" else DEFAULT_WORDS)
        told = self.webhook
        return Policy(
            name,
            cast("Mapping[str, Action]", actions),
            say=say,
            shadow=self.shadow,
            fail_open=self.on_error == "open",
            timeout_s=self.timeout,
            handover=Handover(told.reveal(), parts.pools.webhook_calls, parts.egress) if told is not None else None,
        )
