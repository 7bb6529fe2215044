"""Sentences with personal data in them, made from frames: what the tagger is trained on.

A frame is a sentence with slots: `{person}`, `{address}`, `{org}`, `{place}` are labelled, `{date}`, `{phone}`, `{mail}`,
`{number}`, `{tech}`, `{thing}` are not. Names and addresses come from Faker's locales.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from training.frame_words import FRAMES, JOBS, ORG_KINDS, ORG_WORDS, PLAIN, QUOTES, SUFFIXES, TECH, THINGS, TITLES

Span = tuple[int, int, str]
Example = tuple[str, list[Span]]

LABELLED = {"person": "PERSON", "first": "PERSON", "last": "PERSON", "address": "ADDRESS", "org": "ORGANISATION",
            "place": "LOCATION"}  # fmt: skip

LOCALES = {
    "en_US": "en", "en_GB": "en", "en_AU": "en", "en_CA": "en", "en_IN": "en", "de_DE": "de", "de_AT": "de",
    "de_CH": "de", "fr_FR": "fr", "es_ES": "es", "es_MX": "es", "it_IT": "it", "nl_NL": "nl", "pt_BR": "en",
    "pt_PT": "en", "pl_PL": "en", "sv_SE": "en", "no_NO": "en", "da_DK": "en", "fi_FI": "en", "cs_CZ": "en",
    "hu_HU": "en", "ro_RO": "en", "hr_HR": "en", "tr_TR": "en", "sl_SI": "en", "et_EE": "en", "el_GR": "en",
}  # fmt: skip
_SLOT = re.compile(r"\{(\w+)\}")


class Writer:
    """Fills frames. The same seed gives the same sentences."""

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        """`words` are ordinary ones, to coin names from."""
        from faker import Faker

        self._random = random.Random(seed)
        self._words = words
        self._fakers: dict[str, Any] = {}
        for locale in LOCALES:
            self._fakers[locale] = Faker(locale)
            self._fakers[locale].seed_instance(seed)
        self._frames = {language: _split(text) for language, text in FRAMES.items()}
        self._plain = _split(PLAIN)

    def examples(self, count: int) -> Iterator[Example]:
        """Texts of one to four sentences with their spans."""
        for _ in range(count):
            yield self._example()

    def _example(self) -> Example:
        choose = self._random
        locale = choose.choice(list(LOCALES))
        frames = self._frames[LOCALES[locale]]
        if choose.random() < 0.15:
            frames = self._frames["en"]
        text = ""
        spans: list[Span] = []
        for _ in range(choose.choice((1, 1, 1, 2, 2, 3, 4))):
            frame = choose.choice(self._plain if choose.random() < 0.25 else frames)
            piece, found = self._fill(frame, self._fakers[locale])
            joint = choose.choice((" ", " ", "\n", "\n\n", ". ")) if text else ""
            start = len(text) + len(joint)
            text += joint + piece
            spans += [(start + a, start + b, label) for a, b, label in found]
        return self._noise(text, spans)

    def _noise(self, text: str, spans: list[Span]) -> Example:
        luck = self._random.random()
        if luck < 0.10 and len(text.lower()) == len(text):
            return text.lower(), spans
        if luck < 0.14 and len(text.upper()) == len(text):
            return text.upper(), spans
        return text, spans

    def _fill(self, frame: str, faker: Any) -> Example:
        text = ""
        spans: list[Span] = []
        place = 0
        for slot in _SLOT.finditer(frame):
            text += frame[place : slot.start()]
            place = slot.end()
            value = self._value(slot[1], faker).strip(" ,")
            if slot[1] in LABELLED and value:
                spans.append((len(text), len(text) + len(value), LABELLED[slot[1]]))
            text += value
        return text + frame[place:], spans

    def _value(self, slot: str, faker: Any) -> str:
        choose = self._random
        match slot:
            case "person":
                return self._person(faker)
            case "first":
                return str(faker.first_name())
            case "last":
                return str(faker.last_name())
            case "address":
                return self._address(faker)
            case "place":
                return str(choose.choice((faker.city, faker.city, faker.country))())
            case "org":
                return self._organisation(faker)
            case "date":
                return str(
                    faker.date(choose.choice(("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%B %d, %Y", "%d %B %Y", "%Y")))
                )
            case "phone":
                return str(faker.phone_number())
            case "mail":
                return str(faker.ascii_email())
            case "number":
                return str(choose.randint(1, 10 ** choose.randint(1, 12)))
            case "time":
                return str(faker.time())
            case "thing" | "Thing":
                word = choose.choice(THINGS)
                return word.capitalize() if slot == "Thing" else word
        options = {"tech": TECH, "job": JOBS, "title": TITLES, "quote": QUOTES}
        return choose.choice(options[slot])

    def _person(self, faker: Any) -> str:
        choose = self._random
        first, last = str(faker.first_name()), str(faker.last_name())
        forms = [f"{first} {last}"] * 6 + [
            first, last, f"{first} {choose.choice('ABCDEFGHJKLMNPRSTW')}. {last}", f"{first[0]}. {last}",
            f"{first} {faker.first_name()} {last}", f"{first} {last}-{faker.last_name()}", f"{first} {choose.choice('ABCDEFGJKMNRST')} {last}",
        ]  # fmt: skip
        return str(choose.choice(forms))

    def _address(self, faker: Any) -> str:
        choose = self._random
        luck = choose.random()
        whole = str(faker.address())
        street = str(faker.street_address())
        if luck < 0.30:
            value = whole.replace("\n", ", ")
        elif luck < 0.45:
            value = whole
        elif luck < 0.75:
            value = street.replace("\n", ", ")
        elif luck < 0.88:
            value = str(faker.street_name())
        elif luck < 0.94:
            postcode = getattr(faker, "postcode", None)
            value = f"{street}, {postcode()} {faker.city()}" if postcode else street
        elif luck < 0.96:
            value = f"the corner of {faker.street_name()} and {faker.street_name()}"
        else:
            number = choose.randint(1, 9999)
            joint = choose.choice((" ", "\n", "\n ", ", "))
            flat = choose.choice(
                (f"Suite {number % 999}", f"Apt. {number % 999}", f"Box {number}", f"Flat {number % 99}", "")
            )
            parts = [street, flat, str(faker.city()), str(faker.country()), str(faker.random_int(1000, 99999))]
            value = joint.join(part for part in parts if part)
            value = f"{choose.randint(1, 99999)} {value}" if choose.random() < 0.4 else value
        return value

    def _organisation(self, faker: Any) -> str:
        choose = self._random
        luck = choose.random()
        if luck < 0.25:
            return str(faker.company())
        if luck < 0.6:
            return self._coined(choose.random())
        luck = choose.random() * 0.65 + 0.35
        name = choose.choice(ORG_WORDS) if luck < 0.7 else str(faker.last_name())
        if luck < 0.5 or luck > 0.9:
            return f"{name} {choose.choice(ORG_KINDS)}"
        if luck < 0.6:
            return name + choose.choice(("soft", "tech", "works", "ly", "ify", "corp", "net", "base", "io", "bank"))
        if luck < 0.8:
            return f"{name} {choose.choice(SUFFIXES)}"
        return f"{name} {choose.choice(ORG_KINDS)} {choose.choice(SUFFIXES)}"

    def _coined(self, luck: float) -> str:
        """A name made of ordinary words, which is what most companies have."""
        choose = self._random
        words = [choose.choice(self._words).capitalize() for _ in range(3)]
        if luck < 0.3:
            return words[0] + words[1].lower()
        if luck < 0.45:
            return words[0] + words[1]
        if luck < 0.6:
            return words[0]
        if luck < 0.85:
            return f"{words[0]} {choose.choice((words[1], *ORG_KINDS))}"
        return f"{words[0]} {words[1]} {choose.choice((words[2], *ORG_KINDS, *SUFFIXES))}"


def _split(text: str) -> list[str]:
    return [
        frame.replace("\\n", "\n") for line in text.strip().splitlines() for frame in line.split("|") if frame.strip()
    ]
