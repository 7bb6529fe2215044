"""`routers`: choose the model, pipeline or fixed answer of a request.

This module has the options of every kind; each kind's own options are next to its router, in `router/`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import Field, model_validator

from config.findings import wrong
from config.struct import Component, Ref, Struct

if TYPE_CHECKING:
    from contract.egress import Egress
    from contract.embedding import Vectors
    from contract.phases import Decision, Routing
    from contract.work import WorkPool

ModelRef = Annotated[str, Ref("models", "model")]


class ThenConfig(Struct):
    """What happens to the request. May be written as a string: the model that answers."""

    needs = tuple((each,) for each in ("model", "pipeline", "say", "ask", "human", "tools"))

    shorthand: ClassVar[str] = "model"

    model: ModelRef | None = Field(default=None, description="The model that answers.", examples=["quick"])
    pipeline: Annotated[str, Ref("pipelines", "pipeline")] | None = Field(
        default=None, description="The pipeline that answers, with its context, tools and model."
    )
    say: str | None = Field(default=None, min_length=1, description="A fixed answer, without a model.")
    ask: str | None = Field(
        default=None,
        min_length=1,
        description="A question back to the user; `{options}` is replaced by the possible intents.",
        examples=["Do you mean {options}?"],
    )
    human: str | None = Field(default=None, min_length=1, description="The answer to give while a person takes over.")
    tools: tuple[Annotated[str, Ref("tools", "tool")], ...] | None = Field(
        default=None, description="The tools of the pipeline to offer to the model; unset means all."
    )

    @model_validator(mode="after")
    def _one(self) -> ThenConfig:
        given = [name for name in ("model", "pipeline", "say", "ask", "human") if getattr(self, name) is not None]
        if len(given) > 1:
            raise wrong(f"{given[0]} and {given[1]} exclude each other", "keep one of them")
        if not given and self.tools is None:
            raise wrong("this has no effect", "add model, pipeline, say, ask, human or tools")
        return self

    def decision(self, by: str, name: str = "") -> Decision:
        """The decision, with `by` and `name` of the rule or intent that made it."""
        from contract.phases import Decision

        return Decision(
            by,
            name,
            model=self.model or "",
            pipeline=self.pipeline or "",
            say=self.say or self.ask or self.human or "",
            human=self.human is not None,
            tools=self.tools,
        )


class RouterParts(Protocol):
    """What a process provides to routers."""

    @property
    def pool(self) -> WorkPool:
        """A thread for slow work, such as training."""
        ...

    @property
    def egress(self) -> Egress:
        """The proxies of outbound calls."""
        ...

    def embedder(self) -> Vectors:
        """The bundled embedding model; the first call starts loading it in the background."""
        ...


class RouterConfig(Component):
    """Options of every router. Names of `models` and `pipelines` (`Ref`) are checked alike for all kinds."""

    kind: str = Field(description="How the router decides.")

    @abstractmethod
    def open(self, name: str, parts: RouterParts) -> Routing:
        """Returns the router, not yet started."""

    def plan(self) -> dict[str, Any]:
        """How it decides, for `gatehouse plan --json`."""
        return {"kind": self.kind}

    @classmethod
    def draw(cls, plan: Mapping[str, Any]) -> str:
        """The result of `plan` as a short text."""
        return str(plan["kind"])
