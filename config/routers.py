"""`routers`: which model, pipeline or answer a request gets.

Here is what every kind has; each kind's options stand beside the router, in `router/`.
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
    """What happens. May be written as a string: the model that answers."""

    needs = tuple((each,) for each in ("model", "pipeline", "say", "ask", "human", "tools"))

    shorthand: ClassVar[str] = "model"

    model: ModelRef | None = Field(default=None, description="The model that answers.", examples=["quick"])
    pipeline: Annotated[str, Ref("pipelines", "pipeline")] | None = Field(
        default=None, description="The pipeline whose context, tools and model answer."
    )
    say: str | None = Field(default=None, min_length=1, description="An answer without a model.")
    ask: str | None = Field(
        default=None,
        min_length=1,
        description="A question back; `{options}` stands for the intents that may be meant.",
        examples=["Do you mean {options}?"],
    )
    human: str | None = Field(default=None, min_length=1, description="What is said while a person takes over.")
    tools: tuple[Annotated[str, Ref("tools", "tool")], ...] | None = Field(
        default=None, description="The only tools of the pipeline that are offered; without it all."
    )

    @model_validator(mode="after")
    def _one(self) -> ThenConfig:
        given = [name for name in ("model", "pipeline", "say", "ask", "human") if getattr(self, name) is not None]
        if len(given) > 1:
            raise wrong(f"{given[0]} and {given[1]} exclude each other", "keep one of them")
        if not given and self.tools is None:
            raise wrong("this does nothing", "give model, pipeline, say, ask, human or tools")
        return self

    def decision(self, by: str, name: str = "") -> Decision:
        """What happens, with what decided and its name."""
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
    """What a process lends to routers."""

    @property
    def pool(self) -> WorkPool:
        """A thread for what takes long, such as learning."""
        ...

    @property
    def egress(self) -> Egress:
        """The way to other hosts."""
        ...

    def embedder(self) -> Vectors:
        """The embedding model that ships; it is loaded in the background from the first call on."""
        ...


class RouterConfig(Component):
    """What every router has. What it names in `models` and `pipelines` (`Ref`) is checked for all kinds alike."""

    kind: str = Field(description="How it decides.")

    @abstractmethod
    def open(self, name: str, parts: RouterParts) -> Routing:
        """The router, not yet started."""

    def plan(self) -> dict[str, Any]:
        """What decides, for `gatehouse plan --json`."""
        return {"kind": self.kind}

    @classmethod
    def draw(cls, plan: Mapping[str, Any]) -> str:
        """What `plan` has said, in a few words."""
        return str(plan["kind"])
