"""What the command line's commands share: options, reading the configuration, and ending with a message."""

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
SameFileOption = Annotated[Path | None, typer.Option("--config", "-c", help="The same, as other commands take it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def fail(message: str, code: int = 2) -> NoReturn:
    """Ends the command: 1 is a failure, 2 wrong input. Control characters of names in the message are written out."""
    typer.echo("\n".join(map(printable, message.split("\n"))), err=True)
    raise typer.Exit(code)


def fail_config(error: ConfigError) -> NoReturn:
    """Ends the command with every problem of a configuration."""
    show(styled(error.pieces()), sys.stderr)
    raise typer.Exit(2)


def load_config(path: Path) -> Config:
    """Ends the command with every problem where the file is wrong."""
    return load_config_with_places(path)[0]


def load_config_to_run(path: Path) -> Config:
    """As `load_config`, for a command that works as a server does: warnings go to stderr, only results to stdout."""
    from observability.logs import configure_logging

    configure_logging("off")
    return load_config(path)


def load_config_with_places(path: Path) -> tuple[Config, SourcePositions]:
    """The same, and where everything stands in the file."""
    from config import ConfigError
    from gateway.assembly.configuration import load_with_places

    try:
        return load_with_places(path)
    except ConfigError as error:
        fail_config(error)
