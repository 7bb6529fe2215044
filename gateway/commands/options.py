"""Shared by all commands: options, loading the configuration, and exiting with a message."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from observability.screen import printable, show, styled

if TYPE_CHECKING:
    from config import Config
    from config.loading import SourcePositions
    from config.problems import ConfigError

DEFAULT_CONFIG = Path("gatehouse.yaml")

FileArgument = Annotated[
    Path, typer.Argument(metavar="[FILE]", envvar="GATEHOUSE_CONFIG", help="The YAML file.", show_default=True)
]
FileOption = Annotated[Path, typer.Option("--config", "-c", envvar="GATEHOUSE_CONFIG", help="The YAML file.")]
SameFileOption = Annotated[Path | None, typer.Option("--config", "-c", help="The same file, as in other commands.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def fail(message: str, code: int = 2) -> NoReturn:
    """Exits with a message, its control characters escaped. `code`: 1 for a failure, 2 for invalid input."""
    typer.echo("\n".join(map(printable, message.split("\n"))), err=True)
    raise typer.Exit(code)


def fail_config(error: ConfigError) -> NoReturn:
    """Exits with all errors of a configuration."""
    show(styled(error.pieces()), sys.stderr)
    raise typer.Exit(2)


def load_config(path: Path) -> Config:
    """Loads the file; exits with all errors if it is invalid."""
    return load_config_with_places(path)[0]


def load_config_to_run(path: Path) -> Config:
    """As `load_config`, for a command that runs the engine: sends logs to stderr, so that stdout has only results."""
    from observability.logs import configure_logging

    configure_logging("off")
    return load_config(path)


def load_config_with_places(path: Path) -> tuple[Config, SourcePositions]:
    """As `load_config`; also returns the position of each setting in the file."""
    from config import ConfigError
    from gateway.assembly.configuration import load_with_places

    try:
        return load_with_places(path)
    except ConfigError as error:
        fail_config(error)
