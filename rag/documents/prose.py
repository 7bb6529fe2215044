"""Joins words that are hyphenated at the end of a line."""

from __future__ import annotations

import re

# A soft hyphen at the end of a line is always a line break; a normal hyphen may belong to the word.
_SPLIT_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]{2,})([-\u2010\u00ad])[ \t]*\n([ \t]*)([^\W\d_]{2,})([^\s]*)[ \t]*")
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")


def join_hyphenated(text: str) -> str:
    """Joins the two halves of each split word; the number of lines does not change.

    The hyphen stays if the text contains the word elsewhere with its hyphen (`well-known`) and never without it.
    """
    if not _SPLIT_WORD.search(text):
        return text
    known = {word.lower() for word in _WORD.findall(text)}

    def join(match: re.Match[str]) -> str:
        first, hyphen, indent, second, rest = match.groups()
        if not second[0].islower() and hyphen != "\u00ad":
            return match[0]
        joined, hyphenated = (first + second).lower(), f"{first}-{second}".lower()
        sign = "-" if hyphen != "\u00ad" and joined not in known and hyphenated in known else ""
        word = f"{first}{sign}{second}{rest}"
        if match.end() < len(text) and text[match.end()] != "\n":
            return f"{word}\n{indent}"
        # If the line has no other text, moving the word would blank it and end the paragraph.
        alone = not text[text.rfind("\n", 0, match.start()) + 1 : match.start()].strip()
        return match[0] if alone else f"\n{indent}{word}"

    return _SPLIT_WORD.sub(join, text)
