"""References in the YAML's strings: `${VAR}`, `${VAR:-default}`, `${file:/path}` and LiteLLM's `os.environ/VAR`.

`${file:...}` is relative to the folder of the YAML; the final line end is removed. `$${` is a literal `${`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from config.findings import Substituted, did_you_mean

_REFERENCE = re.compile(r"\$\$(?=\{)|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_LITELLM = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
_MAX_FILE = 64 * 1024


Files: TypeAlias = dict[Path, object]


def stamp(path: Path) -> object:
    """A value that changes when the file changes, or the target of its link; None if the file does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


class UnresolvedReference(Exception):
    """A reference without a value. `cure` is the suggestion."""

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure


class References:
    """Resolves references against one environment and one folder, and hashes all resolved values.

    `files` has the files that references name, readable or not, with their stamps from before reading.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self._seen = hashlib.sha256()
        self.files: Files = {}

    def digest(self) -> bytes:
        """A hash over every value resolved so far, in order."""
        return self._seen.digest()

    def resolve(self, text: str) -> str | None:
        """The text with its references replaced; None if the result is empty.

        Raises `UnresolvedReference`.
        """
        litellm = _LITELLM.fullmatch(text)
        if litellm:
            return Substituted(self._note(self._variable(litellm[1], None)), text)
        if "${" not in text:
            return text
        parts: list[str] = []
        at = 0
        for match in _REFERENCE.finditer(text):
            parts += [text[at : match.start()], self._one(match)]
            at = match.end()
        resolved = "".join([*parts, text[at:]])
        if not resolved:
            return None
        return Substituted(resolved, text)

    def _one(self, match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        inner = match[1]
        if inner is None:
            raise UnresolvedReference("a reference is not closed", "write ${NAME}, or $${ for a literal ${")
        if inner.startswith("file:"):
            return self._note(self._file(inner.removeprefix("file:")))
        variable = _VARIABLE.fullmatch(inner)
        if variable is None:
            raise UnresolvedReference(
                "this ${...} is not a valid reference", "write ${NAME}, ${NAME:-default} or ${file:/path}"
            )
        return self._note(self._variable(variable[1], variable[2]))

    def _variable(self, name: str, default: str | None) -> str:
        value = self._environ.get(name, "")
        if value:
            return value
        if default is not None:
            return default
        if name in self._environ:
            raise UnresolvedReference(
                f"the environment variable {name} is empty", f"set it, or write ${{{name}:-}} if it may be empty"
            )
        # Only a close name helps; a list of the complete environment does not.
        near = did_you_mean(name, self._environ)
        near = near if near.startswith("did you mean") else f"set it, or give a default: ${{{name}:-...}}"
        raise UnresolvedReference(f"the environment variable {name} is not set", near)

    def _file(self, name: str) -> str:
        path = self._folder / name.strip()
        self.files[path] = stamp(path)
        if path.is_fifo() and path.parts[1:2] != ("dev",):
            # Reading a pipe may block for ever, and would empty it.
            raise UnresolvedReference(f"{path} can't be read: it is a pipe", "name a file")
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_FILE + 1)
            text = content.decode().rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UnresolvedReference(f"{path} can't be read: {reason}", "make it readable for the process") from None
        if len(content) > _MAX_FILE or not text:
            raise UnresolvedReference(
                f"{path} is {'empty' if not text else 'too long for a secret'}", "write only the value in the file"
            )
        return text

    def _note(self, value: str) -> str:
        self._seen.update(hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest())
        return value
