"""Writes the lock files: every package that the checkout needs, with hashes. Needs uv.

Pinned versions stay as they are, so that adding a package changes nothing else; `--upgrade` selects the newest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.pins import pins

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
HEAD = """\
# Locked with hashes by `./gatehouse lock`. Install without resolving:
#   pip install --no-deps --require-hashes -r requirements.lock
"""
PREVIOUS = ROOT / "requirements-previous-sdks.lock"
PREVIOUS_HEAD = (
    "# The vendors' SDKs of the major version before, for the contract tests. Locked by `./gatehouse lock`.\n"
)
PREVIOUS_SDKS = "openai>=2,<3\nanthropic>=1,<2\ngoogle-genai>=2,<3\n"

BESIDE_HEAD = """\
# {what}: what it needs beside requirements.lock, for its tests. Locked by `./gatehouse lock`.
"""
PRESIDIO = ROOT / "requirements-presidio.lock"
SENTENCE_TRANSFORMERS = ROOT / "requirements-sentence-transformers.lock"
# PyPI's torch for Linux can't be imported without CUDA's libraries (4 GB), its build for the CPU can. That is on no
# package registry; pip and uv take it where PIP_FIND_LINKS names a folder that has it. Either one is installed.
TORCH = ROOT / "requirements-sentence-transformers-torch.lock"
TORCH_CPU = ROOT / "requirements-sentence-transformers-torch-cpu.lock"
TORCH_VERSION = "2.13.0"
CPU_BUILDS = ("sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)  # CPython 3.11, x86-64
# Only compilers of kernels and drivers: `import torch` does without, and they are 700 MB.
NOT_LOADED = frozenset({"cuda-bindings", "cuda-pathfinder", "cuda-toolkit", "nvidia-nvtx", "triton"})


def compile_lock(lock: Path, head: str, *arguments: str, stdin: str | None = None) -> None:
    """Resolves with uv and writes `lock` below its heading."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header"]
    command += [*sys.argv[1:], "--output-file", str(lock), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, text=True, input=stdin)  # noqa: S603
    lock.write_text(head + lock.read_text())


def blocks(lock: Path) -> dict[str, str]:
    """Returns the lines of each package in a lock: one pin for each range of Python versions."""
    found: dict[str, str] = {}
    for pin in pins(lock.read_text()):
        found[pin.name] = found.get(pin.name, "") + pin.text
    return found


def compile_beside(lock: Path, requirements: str) -> dict[str, str]:
    """Locks packages in addition to `requirements.lock`, at compatible versions, and returns their pins."""
    compile_lock(lock, "", "--python-version", "3.11", "--constraint", str(LOCK), "-", stdin=requirements)
    locked = blocks(LOCK)
    return {name: text for name, text in blocks(lock).items() if name not in locked}


def write(lock: Path, what: str, added: Mapping[str, str]) -> None:
    """Writes pins below a header."""
    lock.write_text(BESIDE_HEAD.format(what=what) + "".join(added.values()))


def is_torch(name: str) -> bool:
    """Whether torch for the CPU does not need the package."""
    return name == "torch" or name.startswith("nvidia-") or name in NOT_LOADED


def lock_sentence_transformers() -> None:
    """Locks the library, and torch with and without CUDA."""
    if TORCH.exists():
        # uv keeps the pins of the file that it writes: those of both files are to stay.
        SENTENCE_TRANSFORMERS.write_text(SENTENCE_TRANSFORMERS.read_text() + TORCH.read_text())
    added = compile_beside(SENTENCE_TRANSFORMERS, f"sentence-transformers>=6\ntorch=={TORCH_VERSION}\n")
    torch = {name: text for name, text in added.items() if is_torch(name)}
    without = {name: text for name, text in added.items() if name not in torch}
    write(SENTENCE_TRANSFORMERS, "sentence-transformers without torch", without)
    write(TORCH, "PyPI's torch", {name: text for name, text in torch.items() if name not in NOT_LOADED})
    lines = [f"torch=={TORCH_VERSION}+cpu", *(f"    --hash={each}" for each in CPU_BUILDS)]
    write(TORCH_CPU, "torch for the CPU", {"torch": " \\\n".join(lines) + "\n"})


def main() -> int:
    """Compiles all locks; the command line's arguments go to uv."""
    compile_lock(LOCK, HEAD, "pyproject.toml", "--extra", "all", "--extra", "docs", "--group", "dev")
    compile_lock(PREVIOUS, PREVIOUS_HEAD, "--python-version", "3.11", "-", stdin=PREVIOUS_SDKS)
    write(PRESIDIO, "Presidio", compile_beside(PRESIDIO, "presidio-analyzer>=2.2.362\n"))
    lock_sentence_transformers()
    return 0


if __name__ == "__main__":
    sys.exit(main())
