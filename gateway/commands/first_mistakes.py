"""Warnings of `gatehouse check` about common first mistakes: secrets that look like names, base URLs with too long a
path, unused components, apps that can bypass a guardrail, keys that can be guessed.
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


# $name, $(NAME), {NAME}, <your key>, env/NAME, and a bare OPENAI_API_KEY: these may still be real secrets.
_PLACEHOLDER = re.compile(r"\$[\w.:]+|\$\(\w+\)|\{\w+\}|<[^<>]+>|env[./]\w+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_MIN_KEY = 20

_UNUSED = {
    "guardrails": (
        "no pipeline uses this guardrail: it checks nothing",
        "add it to guard_input or guard_output of a pipeline",
    ),
    "caches": ("no pipeline uses this cache: it stores nothing", "set it as the cache of a pipeline"),
    "routers": ("no pipeline uses this router: it decides nothing", "set it as the router of a pipeline"),
}


def first_mistakes(config: Config, nodes: Iterable[ConfigNode]) -> Iterator[Remark]:
    """Yields warnings about valid settings that are probably not intended. `nodes` are the nodes of the file."""
    nodes = list(nodes)
    yield from _placeholders(nodes)
    yield from _addresses(config)
    yield from _unused(config, nodes)
    yield from _bypasses(config)
    yield from _short_keys(config)


def _placeholders(nodes: Iterable[ConfigNode]) -> Iterator[Remark]:
    for node in nodes:
        written = isinstance(node.value, str) and not isinstance(node.value, Substituted)
        if written and node.annotation is Secret and _PLACEHOLDER.fullmatch(node.value):
            message = "this looks like the name of a secret, but is used as the secret itself"
            yield node.path, message, 'write "${NAME}" for an environment variable, "${file:/path}" for a file'


def _addresses(config: Config) -> Iterator[Remark]:
    for name, provider in config.providers.items():
        network = provider.network
        remark = network.address_remark() if network is not None else None
        if network is not None and remark is not None:
            yield ("providers", name, network.address_key), *remark


def _unused(config: Config, nodes: Iterable[ConfigNode]) -> Iterator[Remark]:
    named = {
        (marker.section, node.value.partition("/")[0] if marker.prefix else node.value)
        for node in nodes
        if isinstance(node.value, str)
        for marker in node.markers
        if isinstance(marker, Ref)
    }
    for section, (message, cure) in _UNUSED.items():
        for name in getattr(config, section):
            if (section, name) not in named:
                yield (section, name), message, cure
    for name in config.pipelines:
        if ("pipelines", name) not in named:
            cure = f"add it to models, such as {name}: {{pipeline: {name}}}"
            yield ("pipelines", name), "no model uses this pipeline: no request can reach it", cure


def _bypasses(config: Config) -> Iterator[Remark]:
    """Yields apps that may use every model, so also the one behind a pipeline with guardrails."""
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
            message = (
                f"this app may use every model, also {behind} directly, which bypasses the guardrails of {pipeline}"
            )
            yield ("apps", name), message, f"add models: [{', '.join(open_ones)}], or only those that it needs"


def _short_keys(config: Config) -> Iterator[Remark]:
    if is_loopback(split_listen(config.server.listen)[0]):
        return
    for name, app in config.apps.items():
        for at, key in enumerate(app.keys):
            if len(key.reveal()) < _MIN_KEY:
                message = "this key is so short that anyone who can reach this address can guess it"
                yield ("apps", name, "keys", at), message, f"use {_MIN_KEY} characters or more: openssl rand -hex 32"
