"""The folders for local files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.sections import ServerConfig


def cache_folder() -> Path:
    """The cache folder: `$GATEHOUSE_CACHE`, else `~/.cache/gatehouse`."""
    named = os.environ.get("GATEHOUSE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "gatehouse"


def data_folder(server: ServerConfig) -> Path:
    """The data folder: `server.data`, else the cache folder."""
    return server.data if server.data is not None else cache_folder()
