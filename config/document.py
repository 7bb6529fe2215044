"""Parses YAML into plain values, with the position of every key and value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from config.references import References, UnresolvedReference

Path: TypeAlias = tuple[str | int, ...]
_MAX_NODES = 50_000
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_BOOL = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_KNOWN_TAGS = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null|timestamp|merge|value)")


@dataclass(frozen=True)
class TextRange:
    """The range of a piece of text: its first line and column (from 0), and its end."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Fault:
    """An error at a place in the file, before it is rendered."""

    path: Path
    span: TextRange
    message: str
    cure: str


@dataclass
class YamlDocument:
    """A parsed file. `keys` and `values` give the range of each path; `scalars` has all scalars, also those of
    duplicate keys; `names` all keys, with the path of their mapping; `unread` the ranges that belong to no path.

    `unresolved` are the paths with an unresolved reference: their values can't be checked.
    """

    data: Any = None
    keys: dict[Path, TextRange] = field(default_factory=dict)
    values: dict[Path, TextRange] = field(default_factory=dict)
    scalars: list[tuple[Path, TextRange]] = field(default_factory=list)
    names: list[tuple[Path, TextRange]] = field(default_factory=list)
    unread: list[TextRange] = field(default_factory=list)
    unresolved: set[Path] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def read_document(text: str, references: References) -> YamlDocument:
    """Parses YAML 1.2. All errors are in `faults`; after a syntax error `data` is None."""
    try:
        return _compose(text, references)
    except RecursionError:
        return YamlDocument(
            faults=[
                Fault((), TextRange(0, 0, 0, 1), "the file is nested too deeply", "check that it is the right file")
            ]
        )
    except YAMLError as error:
        tabs = [_tab(number, line) for number, line in enumerate(text.split("\n")) if re.match(r" *\t\s*\S", line)]
        if not tabs:
            return YamlDocument(faults=[_syntax_fault(error, text)])
    # All tabs are reported at once; the rest is parsed as if each tab were two spaces.
    try:
        document = _compose(re.sub(r"(?m)^[ \t]+", lambda m: m[0].replace("\t", "  "), text), references)
    except (YAMLError, RecursionError):
        return YamlDocument(faults=tabs)
    _undo_tabs(document, text.split("\n"))
    document.faults += tabs
    return document


def _compose(text: str, references: References) -> YamlDocument:
    yaml = YAML(pure=True)
    root = yaml.compose(text)
    document = YamlDocument()
    document.data = _Reader(document, references).read(root, ()) if root is not None else None
    return document


class _Reader:
    """Converts a tree of YAML nodes into a document."""

    def __init__(self, document: YamlDocument, references: References) -> None:
        self._document = document
        self._references = references
        self._open: list[Node] = []
        self._left = _MAX_NODES

    def read(self, node: Node, path: Path) -> Any:
        """Returns the node's value; records its range and its faults."""
        self._document.values[path] = span = _span(node)
        self._left -= 1
        if node in self._open or self._left < 0:
            if self._left >= -1:  # reported once, not for each of the millions of nodes that an alias can expand to
                self._fault(path, span, "the alias contains itself, or expands to too much", "write the value out")
            self._document.unresolved.add(path)
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path, span)
        self._open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            assert isinstance(node, SequenceNode)
            return tuple(self.read(each, (*path, i)) for i, each in enumerate(node.value))
        finally:
            self._open.pop()

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for key_node, value_node in node.value:
            span = _span(key_node)
            if not isinstance(key_node, ScalarNode) or key_node.tag in (_NULL, _MERGE):
                is_merge = isinstance(key_node, ScalarNode) and key_node.tag == _MERGE
                message = "merge keys (<<) are not part of YAML 1.2" if is_merge else "a key must be text"
                self._fault(path, span, message, "write the keys out" if is_merge else "put quotes around the key")
                self._document.unread += [span, _span(value_node)]
                continue
            key = str(key_node.value)
            self._document.names.append((path, span))
            here = (*path, key)
            if key in entries:
                first = self._document.keys[here].line + 1
                self._fault(here, span, f"duplicate key, first in line {first}", "keep one of the two")
                hidden = _Reader(YamlDocument(), self._references)
                hidden.read(value_node, here)
                self._document.scalars += hidden._document.scalars
                continue
            self._document.keys[here] = span
            entries[key] = self.read(value_node, here)
        return entries

    def _scalar(self, node: ScalarNode, path: Path, span: TextRange) -> str | int | float | bool | None:
        text, tag = str(node.value), str(node.tag)
        self._document.scalars.append((path, span))
        if tag == _NULL:
            return None
        if tag == _BOOL:
            return text.lower() == "true"
        if tag == _INT:
            return _integer(text)
        if tag == _FLOAT:
            return _number(text)
        if not _KNOWN_TAGS.fullmatch(tag):
            self._fault(path, span, "tags are not supported", "remove the tag, which begins with !")
        try:
            return self._references.resolve(text)
        except UnresolvedReference as unresolved:
            self._fault(path, span, unresolved.message, unresolved.cure)
            self._document.unresolved.add(path)
            return None

    def _fault(self, path: Path, span: TextRange, message: str, cure: str) -> None:
        self._document.faults.append(Fault(path, span, message, cure))


def _integer(text: str) -> int | str:
    try:
        return int(text.replace("_", ""), 0)
    except ValueError:
        return text


def _number(text: str) -> float | str:
    try:
        return float(text.replace("_", ""))
    except ValueError:
        return text


def _span(node: Node) -> TextRange:
    start, end = node.start_mark, node.end_mark
    return TextRange(start.line, start.column, end.line, end.column)


def _tab(number: int, line: str) -> Fault:
    column = line.index("\t")
    return Fault((), TextRange(number, column, number, column + 1), "a tab in the indentation", "indent with spaces")


def _undo_tabs(document: YamlDocument, lines: list[str]) -> None:
    """Converts columns of the text with two spaces for each tab into columns of the file itself."""

    def column(line: int, at: int) -> int:
        if line >= len(lines):
            return at
        tabs = re.match(r"[ \t]*", lines[line])
        return max(0, at - (tabs[0].count("\t") if tabs else 0))

    def moved(span: TextRange) -> TextRange:
        return TextRange(
            span.line, column(span.line, span.column), span.end_line, column(span.end_line, span.end_column)
        )

    document.keys = {path: moved(span) for path, span in document.keys.items()}
    document.values = {path: moved(span) for path, span in document.values.items()}
    document.scalars = [(path, moved(span)) for path, span in document.scalars]
    document.names = [(path, moved(span)) for path, span in document.names]
    document.faults = [Fault(f.path, moved(f.span), f.message, f.cure) for f in document.faults]


def _syntax_fault(error: YAMLError, text: str) -> Fault:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        bad = next((i for i, c in enumerate(text) if not c.isprintable() and c not in "\n\r\t"), 0)
        line = text.count("\n", 0, bad)
        column = bad - (text.rfind("\n", 0, bad) + 1)
        return Fault((), TextRange(line, column, line, column + 1), "a character that YAML does not allow", "remove it")
    mark, problem = error.problem_mark, str(error.problem or "")
    lines = text.split("\n")
    source = lines[mark.line] if mark.line < len(lines) else ""
    message, cure = _explain(problem, source[mark.column :], source)
    line, column = mark.line, mark.column
    if error.context_mark is not None and ("end of stream" in problem or not source.strip()):
        # The end of the file does not help the reader; the position of the open quote or bracket does.
        line, column = error.context_mark.line, error.context_mark.column
    return Fault((), TextRange(line, column, line, column + 1), message, cure)


def _explain(problem: str, rest: str, source: str) -> tuple[str, str]:
    """The message and cure for an error of the YAML parser."""
    if rest.startswith("{") and "${" in source:
        return "a reference inside { } or [ ] needs quotes", 'write "${NAME}", with the quotes'
    if "another document" in problem:
        return "a second document begins here", "keep only one document in the file, without ---"
    if "mapping values are not allowed" in problem:
        return "a key is not expected here", "check the indentation; a value with a colon in it needs quotes"
    if "undefined alias" in problem:
        return "this alias has no anchor", "a value that begins with * needs quotes"
    if "cannot start any token" in problem:
        return f"a value can't begin with {rest[:1]}", "put the value in quotes"
    if "end of stream" in problem:
        return "the quote or bracket that opens here is never closed", "close it"
    if "expected ',' or" in problem:
        return "this list or mapping is not closed, or a comma is missing", "check commas and brackets"
    if "<block end>" in problem:
        return "this does not belong to the lines above it", "check the indentation"
    return f"this is not valid YAML: {problem}" if problem else "this is not valid YAML", "check quotes and indentation"
