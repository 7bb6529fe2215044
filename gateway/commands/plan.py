"""`gatehouse plan`: the path that a request for one model takes, according to the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from config.display import effective
from config.findings import did_you_mean
from config.guardrails import Side
from config.models import ModelConfig, TargetConfig
from config.patience import limits_of
from config.root import Config
from config.routers import RouterConfig
from contract.units import write_duration
from gateway.assembly.catalog import KINDS
from observability.screen import printable

if TYPE_CHECKING:
    from rich.tree import Tree

LeftOut: TypeAlias = Mapping[str, Collection[str]]
_ORDER = {
    "priority": "in this order",
    "weighted": "by weight",
    "least_busy": "the least busy first",
    "fastest": "the faster of two drawn at random first",
}

# The longest name of a phase.
_PHASE = len("dispatch")
_POLICIES = ("retry", "fallback", "hedge", "breaker", "on_refusal", "on_context_overflow")


def plan(config: Config, model: str, left_out: Callable[[str], LeftOut] = lambda _: {}) -> dict[str, Any]:
    """Returns the path of a request for `model`: callers, context, targets and policies. Raises `LookupError`.

    `left_out` returns the targets of a model that have no price, each with the apps whose budgets need one.
    """
    requested = config.models.get(model)
    if requested is None:
        raise LookupError(f'there is no model "{model}"; {did_you_mean(model, config.models) or "none is configured"}')
    shown = effective(config)
    made: dict[str, Any] = {"model": model, "access": config.access, "apps": _apps(config, model)}
    name = model
    if requested.pipeline is not None:
        pipeline = config.pipelines[requested.pipeline]
        made["pipeline"] = requested.pipeline
        if guards := _guards(config, pipeline.guard_input, "input"):
            made["guard_input"] = guards
        if guards := _guards(config, pipeline.guard_output, "output"):
            made["guard_output"] = guards
        if pipeline.cache is not None:
            made["cache"] = {"cache": pipeline.cache, **shown["caches"][pipeline.cache]}
        if pipeline.router is not None:
            made["router"] = {"router": pipeline.router, **config.routers[pipeline.router].plan()}
        if pipeline.context is not None:
            context = shown["pipelines"][requested.pipeline]["context"]
            made["context"] = {**context, "from": {s: config.sources[s].where for s in pipeline.context.sources}}
        name = pipeline.model
    answering = config.models[name]
    policies = shown["models"][name]
    made |= {"answered_by": name, "strategy": answering.strategy}
    made["limits"] = limits_of(answering)
    made |= {key: policies[key] for key in _POLICIES if key in policies}
    without = left_out(name)
    made["targets"] = [_target(config, answering, target, without) for target in _ordered(answering)]
    return made


def draw_plan(made: dict[str, Any]) -> Tree:
    """The plan as a tree for a terminal."""
    from rich.tree import Tree

    via = f", pipeline {made['pipeline']}" if "pipeline" in made else ""
    callers = "anyone on this machine" if made["access"] == "open" else ", ".join(made["apps"]) or "no app may use it"
    tree = Tree(f"{made['model']}{via}")
    _branch(tree, "admit", callers)
    for guard in made.get("guard_input", ()):
        _branch(tree, "guard", _draw_guard(guard))
    if "cache" in made:
        _branch(tree, "cache", _draw_cache(made["cache"]))
    if "router" in made:
        _branch(tree, "router", _draw_router(made["router"]))
    if "context" in made:
        context = made["context"]
        folders = ", ".join(f"{name} ({path})" for name, path in context["from"].items())
        most = f"at most {context['max_passages']} passages, {context['max_tokens']}"
        _branch(tree, "context", f"{folders}: {most}")
    _add_dispatch(tree, made)
    for guard in made.get("guard_output", ()):
        _branch(tree, "guard", _draw_guard(guard))
    return tree


def _add_dispatch(tree: Tree, made: dict[str, Any]) -> None:
    dispatch = _branch(tree, "dispatch", f"{made['answered_by']}, {_ORDER[made['strategy']]}")
    breaker = made["breaker"]
    _branch(dispatch, "time", _draw_limits(made["limits"]))
    _branch(dispatch, "retry", _retry(made["retry"]))
    _branch(dispatch, "fallback", ", ".join(_falls_back(made)) or "never")
    _branch(
        dispatch,
        "breaker",
        f"opens after {breaker['failures']} failures in {breaker['window']} "
        f"that are {breaker['share']} of the calls, probed again within {breaker['cooldown']}",
    )
    if "hedge" in made:
        _branch(dispatch, "hedge", f"a second call after {made['hedge']['after']}")
    for number, target in enumerate(made["targets"], 1):
        _branch(dispatch, f"{number}", _draw_target(target))


def _branch(tree: Tree, phase: str, text: str) -> Tree:
    """Adds a row of two columns, so that a text that wraps on a terminal stays beside its phase."""
    from rich.table import Table

    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=_PHASE)
    row.add_column(overflow="fold")
    row.add_row(phase, printable(text))
    return tree.add(row)


def _draw_router(router: dict[str, Any]) -> str:
    struct = KINDS.struct("routers", router["kind"])
    assert struct is not None
    assert issubclass(struct, RouterConfig)
    return f"{router['router']}: {struct.draw(router)}"


def _draw_cache(cache: dict[str, Any]) -> str:
    tiers = ", ".join(each["kind"] for each in cache["tiers"])
    semantic = cache.get("semantic")
    meaning = f"; semantic, at most {semantic['max_false_hit_rate']} false hits" if semantic else ""
    shadow = " (shadow)" if semantic and semantic["shadow"] else ""
    return f"{cache['cache']}: {tiers}, for {cache['ttl']}, per {cache['scope']}{meaning}{shadow}"


def _guards(config: Config, names: tuple[str, ...], side: Side) -> list[dict[str, Any]]:
    """Returns for each guardrail its actions and how much of a streamed answer it holds back."""
    made = []
    for name in names:
        guardrail = config.guardrails[name]
        guard: dict[str, Any] = {"name": name, "kind": guardrail.kind, "on_error": guardrail.on_error}
        guard["then"] = list(guardrail.actions_shown)
        if guardrail.types_shown:
            guard["types"] = guardrail.types_shown
        if guardrail.shadow:
            guard["shadow"] = True
        guard["holds_back"] = guardrail.holds_back(side)
        made.append(guard)
    return made


def _draw_guard(guard: dict[str, Any]) -> str:
    does = ", then ".join(guard["then"]) + "".join(
        f", {action} {kind}" for kind, action in guard.get("types", {}).items()
    )
    notes = [does, f"holds back {guard['holds_back']}"]
    notes += ["shadow" if guard.get("shadow") else f"{guard['on_error']} if it fails"]
    return f"{guard['name']}  ({guard['kind']}: {'; '.join(notes)})"


def _draw_limits(limits: dict[str, str]) -> str:
    def with_thinking(key: str) -> str:
        plain, thinking = limits[key], limits[f"{key}_thinking"]
        return plain if plain == thinking else f"{plain} ({thinking} when thinking)"

    return (
        f"first token {with_thinking('first_token')}, between chunks {with_thinking('idle')}, "
        f"complete answer {limits['whole_answer']}, stream {limits['stream']}, all attempts {limits['all_attempts']}"
    )


def _retry(retry: dict[str, Any]) -> str:
    if retry["attempts"] == 1 or not retry["on"]:
        return "never"
    pause = f"pausing {retry['backoff']}, doubled up to {retry['max_backoff']}"
    return f"up to {retry['attempts']} calls per target, {pause}, on {', '.join(retry['on'])}"


def _falls_back(made: dict[str, Any]) -> list[str]:
    return [*made["fallback"]["on"], *(["refusal"] if made["on_refusal"] == "fallback" else [])]


def _apps(config: Config, model: str) -> list[str]:
    return [name for name, app in config.apps.items() if app.allowed is None or model in app.allowed]


def _ordered(model: ModelConfig) -> list[TargetConfig]:
    return sorted(model.targets, key=lambda target: target.priority)


def _target(config: Config, model: ModelConfig, target: TargetConfig, left_out: LeftOut) -> dict[str, Any]:
    provider = config.providers[target.provider]
    made: dict[str, Any] = {"target": target.target, "kind": provider.kind, "priority": target.priority}
    if model.strategy == "weighted":
        made["weight"] = target.weight
    if (network := provider.network) is not None:
        connect = model.connect or network.connect
        made |= {"url": network.address, "keys": len(network.keys), "connect": write_duration(connect)}
        made["unsupported_params"] = model.unsupported_params or network.unsupported_params
    if target.target in left_out:
        made["no_price_for"] = list(left_out[target.target])
    for limit in ("context_window", "max_output"):
        if getattr(target, limit) is not None:
            made[limit] = getattr(target, limit)
    return made


def _draw_target(target: dict[str, Any]) -> str:
    notes = [target["kind"]]
    if "url" in target:
        keys = target["keys"]
        counted = f"{keys or 'no'} key{'' if keys == 1 else 's'}"
        notes += [target["url"], counted, f"connect {target['connect']}"]
    notes += [f"weight {target['weight']}"] if "weight" in target else []
    notes += [f"priority {target['priority']}"] if target["priority"] != 1 else []
    limits = (("context_window", "window"), ("max_output", "answer"))
    notes += [f"{noun} {target[key]} tokens" for key, noun in limits if key in target]
    notes += [f"no price: skipped for {', '.join(target['no_price_for'])}"] if "no_price_for" in target else []
    return f"{target['target']}  ({', '.join(notes)})"
