"""The environment variables of Gatehouse itself, and warnings about unknown `GATEHOUSE_` variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from config.findings import nearest

KNOWN = {
    "GATEHOUSE_CONFIG": "the YAML file",
    "GATEHOUSE_VENV": "the folder of the packages that ./gatehouse installs",
    "GATEHOUSE_PYTHON": "the Python that ./gatehouse uses for the set-up",
    "GATEHOUSE_CACHE": "the folder for models that the first start builds",
}
# The gateway sets these for its own workers.
_OURS = re.compile(r"GATEHOUSE_(WORKER(_\w+)?|SOCKET_FD)")
_LONGEST = 4_000_000


def unknown_variables(environ: Mapping[str, str], files: Iterable[Path]) -> Iterator[str]:
    """Yields a line for each `GATEHOUSE_` variable that neither Gatehouse nor one of the YAML `files` reads."""
    ours = (name for name in environ if name.startswith("GATEHOUSE_"))
    odd = [name for name in ours if name not in KNOWN and not _OURS.fullmatch(name)]
    if not odd:
        return
    named = "\n".join(_read(file) for file in files)
    for name in sorted(odd):
        if re.search(rf"\b{re.escape(name)}\b", named):
            continue
        close = nearest(name.removeprefix("GATEHOUSE_"), [each.removeprefix("GATEHOUSE_") for each in KNOWN])
        cure = (
            f"did you mean GATEHOUSE_{close}?"
            if close
            else f"Gatehouse reads {', '.join(KNOWN)} and the variables in the YAML file"
        )
        yield f"the environment variable {name} is not used; {cure}"


def _read(file: Path) -> str:
    try:
        with file.open(errors="replace") as opened:
            return opened.read(_LONGEST)
    except OSError:
        return ""


def files_of(arguments: Iterable[str], environ: Mapping[str, str], default: Path) -> list[Path]:
    """Returns the YAML files that a command may load."""
    named = [each.rpartition("=")[2] for each in arguments if each.endswith((".yaml", ".yml"))]
    return [Path(each) for each in (*named, environ.get("GATEHOUSE_CONFIG", ""), str(default)) if each]
