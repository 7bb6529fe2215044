"""Loads a file as a `Config`, or raises an error with all its problems."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from config.crosschecks import crosscheck
from config.document import Fault, TextRange, YamlDocument, read_document
from config.document import Path as FilePath
from config.explain import explain, place
from config.kinds import Kinds
from config.masking import MaskedLines
from config.problems import ConfigError, Problem
from config.references import Files, References, stamp
from config.renames import Renamed, apply_renames
from config.root import Config
from config.shape import ConfigNode, plain_keys, walk, write_path
from contract.egress import from_environment, is_this_machine

_MAX_FILE = 4_000_000


def load(
    path: str | Path,
    kinds: Kinds,
    environ: Mapping[str, str] = os.environ,
    listen: str | None = None,
    files: Files | None = None,
) -> Config:
    """Reads and checks a file. `listen` replaces `server.listen`. Raises `ConfigError` with every problem.

    Adds this file and the files that references name to `files`, with their stamps from before reading; also on errors.
    """
    return load_with_places(path, kinds, environ, listen, files)[0]


class SourcePositions:
    """The positions of all values in a loaded file: for warnings about valid options."""

    def __init__(
        self,
        file: str,
        document: YamlDocument,
        lines: Callable[[], MaskedLines],
        nodes: list[ConfigNode],
        renamed: list[Renamed],
    ) -> None:
        """`lines` is called only if there is a warning; `renamed` are the old names in the file."""
        self.nodes = nodes
        self.renamed = renamed
        self._file = file
        self._document = document
        self._lines = lines

    def problem(self, path: FilePath, message: str, cure: str) -> Problem:
        """A warning about the value at `path`; it points at the key, if there is one."""
        return next(iter(_problems([self._fault(path, message, cure)], self._file, self._lines())))

    def _fault(self, path: FilePath, message: str, cure: str) -> Fault:
        return Fault(path, self._document.keys.get(path) or place(self._document, path), message, cure)


def load_with_places(
    path: str | Path,
    kinds: Kinds,
    environ: Mapping[str, str] = os.environ,
    listen: str | None = None,
    files: Files | None = None,
) -> tuple[Config, SourcePositions]:
    """As `load`; also returns the positions."""
    path = Path(path)
    files = {} if files is None else files
    files[path] = stamp(path)
    text = _read(path)
    references = References(environ, path.resolve().parent)
    document = read_document(text, references)
    files |= references.files
    if listen is not None and isinstance(document.data, dict):
        server = document.data.get("server")
        document.data["server"] = {**(server if isinstance(server, dict) else {}), "listen": listen}
    renamed = apply_renames(document, Config, kinds) if isinstance(document.data, dict) else []
    config, faults, nodes = _check(document, path.resolve().parent, kinds)
    lines = functools.cache(lambda: MaskedLines(text, document, nodes, plain_keys(Config, kinds)))
    if config is None or faults:
        raise ConfigError(_problems(faults, str(path), lines()))
    try:
        config._environment = from_environment(environ)
    except ValueError as error:
        if _uses_environment(config):
            cure = "correct it, or set egress.proxy (to none for no proxy)"
            raise ConfigError([Problem(str(path), 1, 1, "egress", str(error), cure)]) from None
    digest = hashlib.sha256(text.encode() + references.digest() + (listen or "").encode()).hexdigest()[:12]
    config._digest = digest
    config._files = dict(files)
    config._kinds = kinds
    config._renamed = tuple(renamed)
    config._origin = str(path.resolve())
    return config, SourcePositions(str(path), document, lines, nodes, renamed)


def _uses_environment(config: Config) -> bool:
    """Whether any call would use a proxy that the environment sets."""
    if config.egress.proxy is not None:
        return False
    remote = [each.network for each in config.providers.values() if each.network is not None]
    addresses = [each.address for each in remote if each.proxy is None]
    external = [each for each in addresses if not is_this_machine(urlsplit(each).hostname or "")]
    return bool(external or config.tools or config.identity or config.observe.otlp)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) <= _MAX_FILE:
            return content.decode("utf-8-sig")
        message, cure = "the file is larger than 4 MB", "check that it is the right file"
    except OSError as error:
        message, cure = f"the file can't be read: {error.strerror}", "name the file with -c, or set GATEHOUSE_CONFIG"
    except UnicodeDecodeError:
        message, cure = "the file is not UTF-8 text", "save it as UTF-8"
    raise ConfigError([Problem(str(path), 1, 1, "", message, cure)])


def _check(document: YamlDocument, folder: Path, kinds: Kinds) -> tuple[Config | None, list[Fault], list[ConfigNode]]:
    faults = list(document.faults)
    if not isinstance(document.data, dict):
        if not faults:
            cure = "begin with version: 1"
            faults.append(Fault((), TextRange(0, 0, 0, 1), "the file is not a mapping of sections", cure))
        return None, faults, []
    nodes = {node.path: node for node in walk(Config, document.data, kinds)}
    config: Config | None = None
    try:
        config = Config.model_validate(document.data, context={"folder": folder, "kinds": kinds})
    except ValidationError as error:
        found = (explain(each, document, nodes, kinds) for each in error.errors(include_url=False, include_input=False))
        faults += [fault for fault in found if fault is not None]
    faults += crosscheck(document, nodes)
    return config, faults, list(nodes.values())


def _problems(faults: Iterable[Fault], file: str, lines: MaskedLines) -> Iterable[Problem]:
    for fault in faults:
        span, source = fault.span, lines.line(fault.span.line)
        end = span.end_column if span.end_line == span.line else len(source)
        yield Problem(
            file, span.line + 1, span.column + 1, write_path(fault.path), fault.message, fault.cure, source,
            max(1, end - span.column),
        )  # fmt: skip
