"""The parts of a Word file other than its text: relations, styles, list numbering, characters of symbol fonts."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from rag.documents.pieces import UnreadableFile

_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|kop)\s*([1-6])", re.IGNORECASE)
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_LEVELS = 9
_MAX_BASES = 20
# Adobe's encoding of the Symbol font from 0x61 and 0x41, and common characters of Symbol and Wingdings.
_GREEK = "αβχδεφγηιϕκλμνοπθρστυϖωξψζ"
_SYMBOL = {0x61 + at: sign for at, sign in enumerate(_GREEK)} | {
    0x41 + at: sign for at, sign in enumerate("ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ")
} | {
    0xA3: "≤", 0xB3: "≥", 0xB1: "±", 0xB4: "\u00d7", 0xB8: "÷", 0xB9: "≠", 0xBB: "≈", 0xB0: "°", 0xAE: "→", 0xAC: "←",
    0xDE: "⇒", 0xA5: "∞", 0xB7: "•", 0xD6: "√", 0xE5: "∑", 0xF2: "∫", 0xD2: "®", 0xD3: "©", 0xD4: "™", 0xCE: "∈",
}  # fmt: skip
_WINGDINGS = {
    0xFC: "✓", 0xFB: "✗", 0xFE: "☑", 0xFD: "☒", 0xA8: "☐", 0x6F: "☐", 0x6C: "●", 0x6E: "■", 0xA7: "▪", 0x76: "❖",
    0xE0: "→", 0xDF: "←", 0xE1: "↑", 0xE2: "↓", 0xF0: "⇨", 0xD8: "➢", 0x28: "☎", 0x2A: "✉", 0x4A: "☺", 0xAB: "★",
}  # fmt: skip


def local(element: Any) -> str:
    """An element's name without its namespace (transitional or strict); empty for comments."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str | None:
    """An attribute by its name without the namespace; None if it is missing."""
    for key, value in element.attrib.items():
        if key == name or key.endswith("}" + name):
            return str(value)
    return None


def child(element: Any, *names: str) -> Any:
    """The element at the end of a path of names; None if there is none."""
    for name in names:
        element = next((each for each in element if local(each) == name), None) if element is not None else None
    return element


def value(element: Any, *names: str) -> str | None:
    """The attribute `val` of the child at a path of names."""
    target = child(element, *names)
    return attribute(target, "val") if target is not None else None


def is_on(element: Any, *names: str) -> bool:
    """Whether a switch such as `<w:b/>` is present and on."""
    switch = child(element, *names)
    return switch is not None and attribute(switch, "val") not in {"0", "false", "off", "none"}


class Package:
    """A Word archive: finds parts by their relations."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Raises `UnreadableFile` for an archive that is no Word file."""
        self._archive = archive
        self._names = {name.lower(): name for name in archive.namelist()}
        main = [target for kind, target, _ in self._relations("") if kind == "officeDocument"]
        if not main or main[0].lower() not in self._names:
            raise UnreadableFile("it is an archive that contains no Word document")
        self._main = main[0]
        self.document: Any = self.part(self._main)

    def by_id(self, number: str) -> Any:
        """The root of the document's part with that relation id; None if there is none."""
        for _, target, own in self._relations(self._main):
            if own == number and target.lower() in self._names and target.endswith(".xml"):
                return self.part(target)
        return None

    def related(self, kind: str) -> Iterator[Any]:
        """The roots of the document's parts of one kind: `styles`, `header`, `comments`."""
        seen: set[str] = set()
        for part_kind, target, _ in self._relations(self._main):
            if part_kind == kind and target not in seen and target.lower() in self._names:
                seen.add(target)
                yield self.part(target)

    def part(self, name: str) -> Any:
        """A part's root."""
        from lxml import etree  # type: ignore[import-untyped]

        # Entities are not resolved, so `huge_tree` is safe.
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, remove_comments=True)
        return etree.fromstring(self._archive.read(self._names[name.lower()]), parser)

    def _relations(self, part: str) -> Iterator[tuple[str, str, str]]:
        """Kind, target and id of each relation of a part."""
        folder, _, file = part.rpartition("/")
        name = posixpath.join(folder, "_rels", f"{file}.rels").lower()
        if name not in self._names:
            return
        for each in self.part(self._names[name]):
            if isinstance(each.tag, str) and each.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, each.get("Target", ""))).lstrip("/")
                yield str(each.get("Type", "")).rpartition("/")[2], target, str(each.get("Id", ""))


class Numbering(NamedTuple):
    """A list's id and the level of an item."""

    number: str
    level: int


class Styles:
    """Looks up the paragraph properties of styles, including those of base styles."""

    def __init__(self, root: Any) -> None:
        self._styles: dict[str, Any] = {}
        for each in root if root is not None else ():
            if local(each) == "style" and (name := attribute(each, "styleId")) is not None:
                self._styles.setdefault(name, each)

    def _bases(self, style: str | None) -> Iterator[Any]:
        for _ in range(_MAX_BASES):
            base = self._styles.get(style or "")
            if base is None:
                return
            yield base
            style = value(base, "basedOn")

    def level(self, paragraph: Any) -> int:
        """The heading level of a paragraph; 0 if it is no heading."""
        properties = child(paragraph, "pPr")
        outline = value(properties, "outlineLvl") if properties is not None else None
        style = value(properties, "pStyle") if properties is not None else None
        for each in self._bases(style):
            name = value(each, "name") or ""
            if heading := _HEADING.match(name):
                return int(heading[1])
            if name.lower() == "title":
                return 1
            outline = outline or value(each, "pPr", "outlineLvl")
        return int(outline) + 1 if outline in {"0", "1", "2", "3", "4", "5"} else 0

    def numbering(self, paragraph: Any) -> Numbering | None:
        """The list item that a paragraph is; None if it is none."""
        properties = child(paragraph, "pPr")
        if properties is None:
            return None
        own = child(properties, "numPr")
        level = value(own, "ilvl") if own is not None else None
        number = value(own, "numId") if own is not None else None
        for each in self._bases(value(properties, "pStyle")) if number is None else ():
            number = number or value(each, "pPr", "numPr", "numId")
            level = level or value(each, "pPr", "numPr", "ilvl")
        at = int(level) if level and level.isdigit() else 0
        return Numbering(number, min(at, _LEVELS - 1)) if number not in {None, "0"} and number is not None else None


class _Level(NamedTuple):
    start: int
    number_format: str
    text: str


class ListCounter:
    """Counts the items of numbered lists."""

    def __init__(self, root: Any) -> None:
        self._levels: dict[str, dict[int, _Level]] = {}
        self._lists: dict[str, str] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._counts: dict[str, list[int]] = {}
        self._begun: set[str] = set()
        for each in root if root is not None else ():
            if local(each) == "abstractNum":
                self._levels[attribute(each, "abstractNumId") or ""] = dict(_levels(each))
            elif local(each) == "num":
                number = attribute(each, "numId") or ""
                self._lists[number] = value(each, "abstractNumId") or ""
                for override in each:
                    start = value(override, "startOverride") if local(override) == "lvlOverride" else None
                    if start is not None and start.isdigit():
                        self._starts[number, int(attribute(override, "ilvl") or 0)] = int(start)

    def next(self, item: Numbering | None) -> str:
        """The number to show before an item, `2.1`; empty for bullets."""
        if item is None:
            return ""
        abstract = self._lists.get(item.number, "")
        levels = self._levels.get(abstract, {})
        if item.level not in levels:
            return ""
        counts = self._counts.setdefault(abstract, [0] * _LEVELS)
        if item.number not in self._begun:
            self._begun.add(item.number)
            for (number, level), start in self._starts.items():
                if number == item.number:
                    counts[level] = start - 1
        for level in range(item.level + 1):
            if counts[level] == 0 and level in levels:
                counts[level] = levels[level].start - (level == item.level)
        counts[item.level] += 1
        counts[item.level + 1 :] = [0] * (_LEVELS - item.level - 1)
        if levels[item.level].number_format in {"bullet", "none"}:
            return ""

        def of_level(match: re.Match[str]) -> str:
            level = int(match[1]) - 1
            return _count(counts[level], levels[level].number_format) if level in levels else ""

        return re.sub(r"%([1-9])", of_level, levels[item.level].text).strip()


def _levels(abstract: Any) -> Iterator[tuple[int, _Level]]:
    for each in abstract:
        if local(each) == "lvl" and (attribute(each, "ilvl") or "").isdigit():
            start = value(each, "start") or "1"
            number_format = value(each, "numFmt") or "decimal"
            yield (
                int(attribute(each, "ilvl") or 0),
                _Level(int(start) if start.isdigit() else 1, number_format, value(each, "lvlText") or ""),
            )


def _count(number: int, number_format: str) -> str:
    if number_format in {"lowerLetter", "upperLetter"}:
        text = chr(ord("a") + (number - 1) % 26) * min((number - 1) // 26 + 1, 10)
        return text.upper() if number_format == "upperLetter" else text
    if number_format in {"lowerRoman", "upperRoman"} and 0 < number < 5000:
        text = ""
        for worth, sign in _ROMAN:
            text += sign * (number // worth)
            number %= worth
        return text.upper() if number_format == "upperRoman" else text
    return f"{number:02}" if number_format == "decimalZero" else str(number)


def symbol(element: Any) -> str:
    """The character of a `w:sym`; empty if it has no Unicode equivalent."""
    try:
        code = int(attribute(element, "char") or "", 16)
    except ValueError:
        return ""
    font = (attribute(element, "font") or "").lower()
    low = code & 0xFF if 0xF000 <= code <= 0xF0FF else code
    if font.startswith("symbol"):
        return _SYMBOL.get(low, chr(low) if 0x20 <= low < 0x7F else "")
    if "wingdings" in font:
        return _WINGDINGS.get(low, "")
    return chr(code) if 0x20 <= code < 0xD800 or 0xF900 <= code <= 0x10FFFF else ""
