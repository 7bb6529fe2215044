"""Builds a pipeline's guardrails from their configs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from guardrails.chain import Chain
from guardrails.component import Guardrail, GuardrailParts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from config.guardrails import GuardrailConfig
    from guardrails.component import GuardrailServices

T = TypeVar("T")


def chain(
    configs: Mapping[str, GuardrailConfig],
    inputs: Sequence[str],
    outputs: Sequence[str],
    services: GuardrailServices,
    redis_url: str | None = None,
) -> Chain:
    """Builds the guardrails of one pipeline. Raises `ValueError`; opens only the `services` that they need."""
    # The catalog ensures that every kind in a config file subclasses `Guardrail`.
    guardrails = cast("Mapping[str, Guardrail]", configs)
    parts = GuardrailParts(services, redis_url)
    on_input = [(name, guardrails[name]) for name in inputs]
    on_output = [(name, guardrails[name]) for name in outputs]
    return Chain(
        _present(each.request_check(name, parts) for name, each in on_input),
        _present(each.stream_check(name, parts) for name, each in on_output),
        [
            # Sentence checks run first: they pass text on before a check holds back the complete answer.
            *_present(each.sentence_check(name, parts) for name, each in on_output),
            *_present(each.answer_check(name, parts) for name, each in on_output),
        ],
    )


def _present(checks: Iterable[T | None]) -> list[T]:
    return [each for each in checks if each is not None]
