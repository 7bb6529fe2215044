"""Writes the lock files: every package that the checkout needs, with hashes. Needs uv.

Pinned versions stay as they are, so that adding a package changes nothing else; `--upgrade` takes the newest.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def compile_lock(lock: Path, head: str, *arguments: str, stdin: str | None = None) -> None:
    """Resolves with uv and writes `lock` below its heading."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header"]
    command += [*sys.argv[1:], "--output-file", str(lock), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, text=True, input=stdin)  # noqa: S603
    lock.write_text(head + lock.read_text())


def main() -> int:
    """Compiles both locks; the command line's arguments go to uv."""
    compile_lock(LOCK, HEAD, "pyproject.toml", "--extra", "all", "--extra", "docs", "--group", "dev")
    compile_lock(PREVIOUS, PREVIOUS_HEAD, "--python-version", "3.11", "-", stdin=PREVIOUS_SDKS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
