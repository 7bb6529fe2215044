"""Texts that were set in lines: words that a hyphen cuts at the end of one are whole again."""

from __future__ import annotations

import re

# A soft hyphen at the end of a line is nothing else; a hyphen may belong to the word.
_CUT = re.compile(r"(?<![^\W\d_])([^\W\d_]{2,})([-\u2010\u00ad])[ \t]*\n([ \t]*)([^\W\d_]{2,})([^\s]*)[ \t]*")
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")


def unhyphenated(text: str) -> str:
    """Puts the second half of a word behind its first; lines stay as many as they are.

    Where the text has the word with its hyphen elsewhere (`well-known`), and not without, the hyphen stays.
    """
    if not _CUT.search(text):
        return text
    known = {word.lower() for word in _WORD.findall(text)}

    def whole(found: re.Match[str]) -> str:
        first, hyphen, indent, second, rest = found.groups()
        if not second[0].islower() and hyphen != "\u00ad":
            return found[0]
        joined, kept = (first + second).lower(), f"{first}-{second}".lower()
        sign = "-" if hyphen != "\u00ad" and joined not in known and kept in known else ""
        word = f"{first}{sign}{second}{rest}"
        if found.end() < len(text) and text[found.end()] != "\n":
            return f"{word}\n{indent}"
        # A line of the second half only would be left blank, and end the paragraph.
        alone = not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip()
        return found[0] if alone else f"\n{indent}{word}"

    return _CUT.sub(whole, text)
