"""What `gatehouse check` remarks on a first configuration: names that are no references, addresses with too much of a
path, parts that nothing uses, ways round a guardrail, keys that can be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from config.findings import Substituted
from config.listening import is_loopback, split_listen
from config.secret import Secret
from config.struct import Ref

if TYPE_CHECKING:
    from config.raw import Remark
    from config.root import Config
    from config.shape import ConfigNode


# $name, $(NAME), {NAME}, <your key>, env/NAME, and OPENAI_API_KEY without any sign: what might be a secret after all.
_PLACEHOLDER = re.compile(r"\$[\w.:]+|\$\(\w+\)|\{\w+\}|<[^<>]+>|env[./]\w+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_KEY = 20

_IDLE = {
    "guardrails": (
        "no pipeline names this guardrail: it checks nothing",
        "name it under guard_input or guard_output of a pipeline",
    ),
    "caches": ("no pipeline names this cache: it keeps nothing", "name it under cache of a pipeline"),
    "routers": ("no pipeline names this router: it decides nothing", "name it under router of a pipeline"),
}


def first_mistakes(config: Config, spots: Iterable[ConfigNode]) -> Iterator[Remark]:
    """What is right, and probably not as meant. `spots` are the places of the file."""
    spots = list(spots)
    yield from _placeholders(spots)
    yield from _addresses(config)
    yield from _idle(config, spots)
    yield from _ways_round(config)
    yield from _short_keys(config)


def _placeholders(spots: Iterable[ConfigNode]) -> Iterator[Remark]:
    for spot in spots:
        written = isinstance(spot.value, str) and not isinstance(spot.value, Substituted)
        if written and spot.annotation is Secret and _PLACEHOLDER.fullmatch(spot.value):
            message = "this looks like the name of a secret, and is taken for the secret itself"
            yield spot.path, message, 'write "${NAME}" for an environment variable, "${file:/path}" for a file'


def _addresses(config: Config) -> Iterator[Remark]:
    for name, provider in config.providers.items():
        network = provider.network
        remark = network.address_remark() if network is not None else None
        if network is not None and remark is not None:
            yield ("providers", name, network.address_key), *remark


def _idle(config: Config, spots: Iterable[ConfigNode]) -> Iterator[Remark]:
    named = {
        (marker.section, spot.value.partition("/")[0] if marker.prefix else spot.value)
        for spot in spots
        if isinstance(spot.value, str)
        for marker in spot.markers
        if isinstance(marker, Ref)
    }
    for section, (message, cure) in _IDLE.items():
        for name in getattr(config, section):
            if (section, name) not in named:
                yield (section, name), message, cure
    for name in config.pipelines:
        if ("pipelines", name) not in named:
            cure = f"add it to models, such as {name}: {{pipeline: {name}}}"
            yield ("pipelines", name), "no model names this pipeline: nobody can ask for it", cure


def _ways_round(config: Config) -> Iterator[Remark]:
    """Apps that may ask for every model, so also for the one behind a pipeline with guardrails."""
    guarded = {
        model.pipeline: config.pipelines[model.pipeline].model
        for model in config.models.values()
        if model.pipeline
        and (config.pipelines[model.pipeline].guard_input or config.pipelines[model.pipeline].guard_output)
    }
    if not guarded:
        return
    pipeline, behind = next(iter(guarded.items()))
    open_ones = [name for name, model in config.models.items() if name not in guarded.values()]
    for name, app in config.apps.items():
        if "*" in app.models:
            message = f"it may ask for every model: for {behind} too, which goes round the guardrails of {pipeline}"
            yield ("apps", name), message, f"add models: [{', '.join(open_ones)}], or those of them that it needs"


def _short_keys(config: Config) -> Iterator[Remark]:
    if is_loopback(split_listen(config.server.listen)[0]):
        return
    for name, app in config.apps.items():
        for at, key in enumerate(app.keys):
            if len(key.reveal()) < _KEY:
                message = "this key is so short that it can be guessed by whoever reaches this address"
                yield ("apps", name, "keys", at), message, f"take {_KEY} characters or more: openssl rand -hex 32"
