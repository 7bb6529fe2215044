"""The cost of guardrails, and whether unmasking restores every character.

    python -m bench.guardrails [--round-trips 100000] [--streams 2000]

Round trips: masks and unmasks random texts that contain personal data, text that looks like tags, and unusual characters.
Streams: unmasks the conversations of many callers concurrently, in pieces; no caller may receive another one's values.
"""

from __future__ import annotations

import argparse
import random
import time

from contract.deltas import ChoiceDelta, Delta
from guardrails.injection_rules import InjectionFinder
from guardrails.masking.mask import mask_text
from guardrails.masking.tags import TagKey
from guardrails.masking.unmask import Unmask
from guardrails.masking.vault import Vault
from guardrails.personal.patterns import find, resolve
from guardrails.secrets import SecretFinder

PIECES = (
    "jane.doe@example.org", "+49 171 2345678", "4111 1111 1111 1111", "DE89370400440532013000", "536-90-4399", "10.1.2.3", " ", " ",
    " the pump ", ", ", "\n", "\\", "<", ">", "&lt;", "&gt;", "\\u003c", "_", "-", "'s", "EMAIL_", "<EMAIL", "<PHONE_AAAAAA>", "é", "世界", "\u200b",
    '"', "{", "LITERAL_", "`", "**",
)  # fmt: skip
PROMPT = (
    "The customer wrote on Monday that the printer in the second floor stopped after 120 pages and shows error 0x42. "
    "Please check whether the warranty still holds, and answer in a friendly way; the order number is 40291-AX. "
) * 5


def round_trips(count: int, seed: int = 1) -> int:
    """How many of `count` random texts did not come back as they were."""
    choose = random.Random(seed)
    wrong = 0
    key = TagKey(b"bench", "conversation")
    quoted: list[str] = [""]
    for _ in range(count):
        text = "".join(choose.choices(PIECES, k=choose.randint(1, 14))) + choose.choice(quoted)
        vault = Vault(key)
        masked = mask_text(text, resolve(find(text)), vault)
        wrong += vault.reveal(masked) != text
        if len(quoted) < 1000:
            # What looks like a tag is a tag of the same conversation.
            quoted.append(masked[:60])
    return wrong


def foreign_values(streams: int, seed: int = 2) -> int:
    """How many of `streams`, fed side by side, were not exactly their own caller's."""
    choose = random.Random(seed)
    under_way: list[tuple[Unmask, str, str, list[str]]] = []
    for number in range(streams):
        vault = Vault(TagKey(b"bench", f"conversation {number % 50}"))
        mail, phone = f"caller{number}@example.org", f"+49 171 {number:07d}"
        masked = f"Dear {vault.tag('EMAIL', mail)}, we call {vault.tag('PHONE', phone)} or {vault.tag('EMAIL', mail).lower()}."
        expected = f"Dear {mail}, we call {phone} or {mail}."
        # Another's tag in the text of this one must stay as it is.
        foreign = Vault(TagKey(b"bench", f"conversation {number % 50}")).tag(
            "EMAIL", f"caller{number + 50}@example.org"
        )
        under_way.append((Unmask(vault), masked + foreign, expected + foreign, []))
    order = [index for index in range(streams) for _ in range(12)]
    choose.shuffle(order)
    places = [0] * streams
    for index in order:
        unmask, text, _, told = under_way[index]
        step = choose.randint(1, 20)
        piece = text[places[index] : places[index] + step]
        places[index] += step
        told += [p.text for d in unmask.feed([Delta((ChoiceDelta(text=piece),))]) for p in d.choices]
    wrong = 0
    for index, (unmask, text, expected, told) in enumerate(under_way):
        rest = unmask.feed([Delta((ChoiceDelta(text=text[places[index] :], finish="stop"),))]) + unmask.finish()
        told += [piece.text for delta in rest for piece in delta.choices]
        wrong += "".join(told) != expected
    return wrong


def costs() -> dict[str, float]:
    """Milliseconds a kilobyte, and microseconds a delta."""
    from guardrails.personal.tagger import open_tagger

    tagger = open_tagger()
    secrets, attacks = SecretFinder(), InjectionFinder()
    made = {
        "personal data by form, ms/KB": _per_kb(lambda: resolve(find(PROMPT))),
        "secrets, ms/KB": _per_kb(lambda: secrets.find(PROMPT)),
        "injection rules, ms/KB": _per_kb(lambda: attacks.find(PROMPT)),
        "names and addresses, ms/KB": _per_kb(lambda: tagger.tag(PROMPT), 20),
    }
    vault = Vault(TagKey(b"bench", "c"))
    for kind in ("EMAIL", "PHONE", "PERSON", "ADDRESS"):
        for number in range(5):
            vault.tag(kind, f"{kind} {number}")
    deltas = [[Delta((ChoiceDelta(text=f" {word}"),))] for word in PROMPT.split()]
    best = min(_timed(lambda: _feed(Unmask(vault), deltas)) for _ in range(7))
    made["unmasking, us/delta"] = round(best / len(deltas) * 1e6, 2)
    return made


def _feed(unmask: Unmask, deltas: list[list[Delta]]) -> None:
    for each in deltas:
        unmask.feed(each)


def _per_kb(run: object, times: int = 50) -> float:
    assert callable(run)
    best = min(_timed(run) for _ in range(times))
    return round(best * 1000 / (len(PROMPT) / 1000), 3)


def _timed(run: object) -> float:
    assert callable(run)
    started = time.process_time_ns()
    run()
    return (time.process_time_ns() - started) / 1e9


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--round-trips", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=2000)
    arguments = parser.parse_args()
    for name, figure in costs().items():
        print(f"{name}: {figure}")
    print(f"round trips: {arguments.round_trips}, wrong: {round_trips(arguments.round_trips)}")
    print(f"streams side by side: {arguments.streams}, wrong: {foreign_values(arguments.streams)}")


if __name__ == "__main__":
    main()
