"""Writes requirements.lock: every package that the checkout needs, with hashes. Needs uv."""

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


def compiled(*arguments: str, stdin: str | None = None) -> str:
    """What `uv pip compile` prints, without its own heading."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, input=stdin).stdout  # noqa: S603


def main() -> int:
    """Compiles and writes."""
    packages = compiled("pyproject.toml", "--extra", "all", "--group", "dev")
    LOCK.write_text(f"{HEAD}{packages}")
    PREVIOUS.write_text(PREVIOUS_HEAD + compiled("--python-version", "3.11", "-", stdin=PREVIOUS_SDKS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
