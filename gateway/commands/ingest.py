"""`gatehouse ingest`: documents into sources from the command line, while servers run or not."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from access.opening import open_ledger
from contract.sources import Item
from gateway.assembly.building import build
from gateway.engine.resources import Resources
from observability.screen import progress_bar
from rag.assembly import documents_of, embedder_of, open_source, place_of
from rag.documents.kinds import OTHERS, SUFFIXES, check_name
from rag.documents.reading import load_file
from rag.ingest import IngestReport
from router.health import HealthBook

if TYPE_CHECKING:
    from rich.progress import TaskID

    from config import Config
    from config.sources import DocumentSourceConfig
    from rag.ingest import Progress
    from rag.source import Source


async def ingest(config: Config, name: str, paths: Sequence[Path]) -> IngestReport:
    """One pass over a source; `paths` are handed in to one of kind `documents`. Raises `ValueError`, `OSError`."""
    source_config = _documents(config, name)
    if paths and not source_config.takes_documents:
        raise ValueError(
            f"{name} is of kind {source_config.kind}: it reads what its config names, not files given here"
        )
    resources = Resources(HealthBook())
    bar = ProgressBar()
    try:
        # What a provider's model embeds costs money here too.
        resources.accounts = await open_ledger(config.server)
        async with opened(config, name, resources) as source:
            source.logs_failures = False
            report = IngestReport()
            if paths:
                report = await source.add(_items(paths, _documents(config, name).read.size))
            passed = await source.ingest(bar.tell)
            return passed if not paths else _together(report, passed)
    finally:
        bar.end()
        await resources.close()


@contextlib.asynccontextmanager
async def opened(config: Config, name: str, resources: Resources) -> AsyncIterator[Source]:
    """A source that nobody keeps up but the caller. Raises `ValueError`, `OSError`."""
    source_config = _documents(config, name)
    embedder = embedder_of(name, source_config, resources)
    # A provider's model is asked through an engine with nothing but the providers.
    models = {each: model for each, model in config.models.items() if model.pipeline is None}
    bare = config.model_copy(update={"sources": {}, "tools": {}, "pipelines": {}, "models": models})
    engine = await build(bare, resources)
    source = open_source(
        name, source_config, place_of(config, name), embedder, readers=resources.readers(), egress=config.outbound
    )
    try:
        await source.open()
        yield source
    finally:
        await source.close()
        await engine.close()


def _documents(config: Config, name: str) -> DocumentSourceConfig:
    found = documents_of(config).get(name)
    if found is None:
        raise ValueError(f"{name} is of kind {config.sources[name].kind}: there are no documents in it")
    return found


def _together(handed: IngestReport, passed: IngestReport) -> IngestReport:
    handed.embedded += passed.embedded
    return handed


def _items(paths: Sequence[Path], max_bytes: int) -> list[Item]:
    """Files, and all documents in folders; the id is the path as it was given."""
    items = []
    documents = SUFFIXES | OTHERS.keys()
    for path in paths:
        files = (
            sorted(each for each in path.rglob("*") if each.suffix.lower() in documents) if path.is_dir() else [path]
        )
        items += [Item(each.as_posix(), partial(_load, each, max_bytes)) for each in files if each.is_file()]
    return items


def _load(path: Path, max_bytes: int) -> tuple[bytes, str]:
    check_name(path.name)
    return load_file(path, max_bytes), ""


class ProgressBar:
    """How far an ingestion is, on stderr where that is a terminal."""

    def __init__(self) -> None:
        self._bar = progress_bar(sys.stderr)
        self._tasks: dict[str, TaskID] = {}

    def tell(self, progress: Progress) -> None:
        """Draws, at most ten times a second."""
        if progress.what not in self._tasks:
            self._bar.start()
            self._tasks[progress.what] = self._bar.add_task(progress.what, total=progress.total)
        self._bar.update(self._tasks[progress.what], completed=progress.done, total=progress.total)

    def end(self) -> None:
        """Leaves the lines as they are."""
        self._bar.stop()
