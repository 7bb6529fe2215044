"""The environment variables of Gatehouse itself, and a word about those that look like one of them and are none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from config.findings import nearest

KNOWN = {
    "GATEHOUSE_CONFIG": "the YAML file",
    "GATEHOUSE_VENV": "where ./gatehouse keeps its packages",
    "GATEHOUSE_PYTHON": "the Python that ./gatehouse sets up with",
    "GATEHOUSE_CACHE": "where models are kept that are made at the first start",
}
# What the gateway sets for its own workers.
_OURS = re.compile(r"GATEHOUSE_(WORKER(_\w+)?|SOCKET_FD)")
_LONGEST = 4_000_000


def unknown_variables(environ: Mapping[str, str], files: Iterable[Path]) -> Iterator[str]:
    """A line for each `GATEHOUSE_` variable that nothing reads: neither Gatehouse nor one of the YAML `files`."""
    ours = (name for name in environ if name.startswith("GATEHOUSE_"))
    odd = [name for name in ours if name not in KNOWN and not _OURS.fullmatch(name)]
    if not odd:
        return
    named = "\n".join(_read(file) for file in files)
    for name in sorted(odd):
        if re.search(rf"\b{re.escape(name)}\b", named):
            continue
        close = nearest(name.removeprefix("GATEHOUSE_"), [each.removeprefix("GATEHOUSE_") for each in KNOWN])
        cure = f"did you mean GATEHOUSE_{close}?" if close else f"known are {', '.join(KNOWN)}, and what the YAML names"
        yield f"the environment variable {name} is read by nothing; {cure}"


def _read(file: Path) -> str:
    try:
        with file.open(errors="replace") as opened:
            return opened.read(_LONGEST)
    except OSError:
        return ""


def files_of(arguments: Iterable[str], environ: Mapping[str, str], default: Path) -> list[Path]:
    """The YAML files that a command line may mean."""
    named = [each.rpartition("=")[2] for each in arguments if each.endswith((".yaml", ".yml"))]
    return [Path(each) for each in (*named, environ.get("GATEHOUSE_CONFIG", ""), str(default)) if each]
