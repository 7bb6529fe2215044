"""`kind: simulated`: the simulator as a provider, started with the engine or already running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field, model_validator

from config.access import LimitsConfig
from config.findings import wrong
from config.providers import MaxAnswer, ProviderBase
from config.struct import Coerce, HttpUrl
from contract.endpoint import MAX_ANSWER_BYTES
from gateway.simulator.wires import Vendor

if TYPE_CHECKING:
    from config.providers import ProviderParts
    from contract.provider import Provider


def _script(value: object) -> object:
    """Converts a fault, a list of faults, or a map from model to either, into a map from model (`*`: any) to a list."""

    def faults(each: object) -> object:
        listed = each if isinstance(each, tuple) else (each,)
        return tuple(str(f) if isinstance(f, int) and not isinstance(f, bool) else f for f in listed)

    if isinstance(value, dict):
        return {model: faults(each) for model, each in value.items()}
    return {"*": faults(value)}


def _or_faults(_: dict[str, Any]) -> dict[str, Any]:
    fault = {"type": ["string", "integer"]}
    faults = {"anyOf": [fault, {"type": "array", "items": fault}]}
    return {"anyOf": [*faults["anyOf"], {"type": "object", "additionalProperties": faults}]}


class SimulatedConfig(ProviderBase):
    """A scriptable upstream that simulates faults."""

    renamed: ClassVar[Mapping[str, str]] = {"max_answer": "max_response"}

    free = True

    kind: Literal["simulated"] = Field(description="A scriptable upstream that simulates faults, to test policies.")
    dialect: Vendor = Field(default="openai", description="The dialect that it uses.")
    script: Annotated[dict[str, tuple[str, ...]], Coerce(_script, _or_faults)] = Field(
        default={},
        description="Its behaviour: a fault (`ok`, `429`, `cut-20`, ...), a list, or a map of model to either.",
    )
    says: dict[str, str] = Field(
        default={},
        description="The text of its responses, by model (`*`: any).",
        examples=["{writer: SELECT count(*) FROM orders}"],
    )
    base_url: HttpUrl | None = Field(
        default=None, description="The URL of a running simulator; without it one is started."
    )
    max_response: MaxAnswer = MAX_ANSWER_BYTES
    limits: LimitsConfig | None = Field(
        default=None, description="Rate limits for this provider; above them the next target is tried."
    )

    @model_validator(mode="after")
    def _own(self) -> SimulatedConfig:
        if self.base_url is not None and self.says:
            raise wrong("says applies only to a simulator that the gateway starts", "remove base_url or says")
        return self

    async def build(self, name: str, parts: ProviderParts) -> Provider:
        """See `ProviderBase.build`."""
        base_url = self.base_url
        if base_url is None:
            from gateway.simulator.server import Simulator

            simulator = Simulator({model: list(words) for model, words in self.script.items()}, says=self.says)
            base_url = f"http://127.0.0.1:{await simulator.start()}"
            parts.owns(simulator.close)
        dialect = parts.dialect(self.dialect)
        endpoint = msgspec.structs.replace(
            dialect.usual_endpoint(base_url), max_answer=self.max_response, proxy=parts.egress.proxy_for(base_url)
        )
        return parts.remote(name, dialect, endpoint, ("simulated",))
