"""Reads the configuration with the catalog's kinds of components."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import config.display
import config.loading
import config.manual
from gateway.assembly.catalog import KINDS

if TYPE_CHECKING:
    from config.loading import SourcePositions
    from config.references import Files
    from config.root import Config


def load(
    path: str | Path,
    environ: Mapping[str, str] = os.environ,
    listen: str | None = None,
    files: Files | None = None,
) -> Config:
    """See `config.loading.load`."""
    return config.loading.load(path, KINDS, environ, listen, files)


def load_with_places(
    path: str | Path,
    environ: Mapping[str, str] = os.environ,
    listen: str | None = None,
    files: Files | None = None,
) -> tuple[Config, SourcePositions]:
    """See `config.loading.load_with_places`."""
    return config.loading.load_with_places(path, KINDS, environ, listen, files)


def schema() -> dict[str, Any]:
    """See `config.display.schema`."""
    return config.display.schema(KINDS)


def manual() -> str:
    """See `config.manual.manual`."""
    return config.manual.manual(KINDS)
