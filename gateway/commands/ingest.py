"""`gatehouse ingest`: ingests documents into a source; servers may run meanwhile."""

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
    """Ingests a source once; `paths` are for one of kind `documents`. Raises `ValueError`, `OSError`."""
    source_config = _documents(config, name)
    if paths and not source_config.takes_documents:
        raise ValueError(
            f"{name} is of kind {source_config.kind}: it reads what its config lists, and no files from here"
        )
    resources = Resources(HealthBook())
    bar = ProgressBar()
    try:
        # Embeddings from a provider cost money: the ledger records them.
        resources.accounts = await open_ledger(config.server)
        async with opened(config, name, resources) as source:
            source.logs_failures = False
            report = IngestReport()
            if paths:
                report = await source.add(_items(paths, _documents(config, name).read.size))
            passed = await source.ingest(bar.update)
            return passed if not paths else _merge(report, passed)
    finally:
        bar.end()
        await resources.close()


@contextlib.asynccontextmanager
async def opened(config: Config, name: str, resources: Resources) -> AsyncIterator[Source]:
    """Opens a source without background ingestion. Raises `ValueError`, `OSError`."""
    source_config = _documents(config, name)
    embedder = embedder_of(name, source_config, resources)
    # A provider's embedding model needs an engine; this one has only providers and models.
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
        raise ValueError(f"{name} is of kind {config.sources[name].kind}: it contains no documents to ingest")
    return found


def _merge(report: IngestReport, passed: IngestReport) -> IngestReport:
    report.embedded += passed.embedded
    return report


def _items(paths: Sequence[Path], max_bytes: int) -> list[Item]:
    """Returns the files, and all documents in the folders; the id is the path as given."""
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
    """Shows the progress of an ingestion on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._bar = progress_bar(sys.stderr)
        self._tasks: dict[str, TaskID] = {}

    def update(self, progress: Progress) -> None:
        """Redraws the bar, at most ten times a second."""
        if progress.what not in self._tasks:
            self._bar.start()
            self._tasks[progress.what] = self._bar.add_task(progress.what, total=progress.total)
        self._bar.update(self._tasks[progress.what], completed=progress.done, total=progress.total)

    def end(self) -> None:
        """Stops updating; the bars remain on the screen."""
        self._bar.stop()
