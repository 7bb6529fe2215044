"""The guardrails of a pipeline from their configs: each is asked for the checks that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from guardrails.chain import Chain
from guardrails.component import Guardrail, GuardrailParts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from config.guardrails import GuardrailConfig
    from guardrails.component import Shared

T = TypeVar("T")


def chain(
    configs: Mapping[str, GuardrailConfig],
    inputs: Sequence[str],
    outputs: Sequence[str],
    shared: Shared,
    redis_url: str | None = None,
) -> Chain:
    """The guardrails of one pipeline by their names. Raises `ValueError`; of `shared` only what is needed is opened."""
    # The catalog's base of this seam: every kind that a file can name is made from it.
    guardrails = cast("Mapping[str, Guardrail]", configs)
    parts = GuardrailParts(shared, redis_url)
    on_input = [(name, guardrails[name]) for name in inputs]
    on_output = [(name, guardrails[name]) for name in outputs]
    return Chain(
        _present(each.request_check(name, parts) for name, each in on_input),
        _present(each.stream_check(name, parts) for name, each in on_output),
        [
            # What can go on sentence by sentence is judged before the whole is held back.
            *_present(each.sentence_check(name, parts) for name, each in on_output),
            *_present(each.answer_check(name, parts) for name, each in on_output),
        ],
    )


def _present(checks: Iterable[T | None]) -> list[T]:
    return [each for each in checks if each is not None]
