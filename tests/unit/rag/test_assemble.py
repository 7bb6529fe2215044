from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contract.context_block import read_blocks, write_block
from contract.passages import Passage
from contract.tokens import estimate_tokens
from rag.assemble import choose, drop_worst


def assemble(passages: list[Passage], budget: int) -> str:
    chosen = choose(passages, budget)
    return write_block(chosen) if chosen else ""


def passage(text: str, number: int = 1) -> Passage:
    return Passage(f"{number}.md", f"Part, line {number}", text, 1 / number, str(number))


@given(st.lists(st.text(max_size=80), max_size=6), st.integers(0, 400))
def test_stays_within_the_budget(texts: list[str], budget: int) -> None:
    passages = [passage(text, number) for number, text in enumerate(texts, 1)]
    block = assemble(passages, budget)
    assert estimate_tokens(block) <= budget
    sources = [found.source for found in read_blocks(block)[0]]
    assert set(sources) <= {each.source for each in passages}
    assert len(set(sources)) == len(sources)


def test_best_first_and_second_best_last() -> None:
    block = assemble([passage(f"words {number}", number) for number in range(1, 6)], 10_000)
    found = read_blocks(block)[0]
    assert [each.source for each in found] == ["1.md", "3.md", "5.md", "4.md", "2.md"]
    assert [each.id for each in found] == ["1", "2", "3", "4", "5"]


def test_one_too_long_makes_room_for_the_next() -> None:
    found = read_blocks(assemble([passage("word " * 1000, 1), passage("short", 2)], 200))[0]
    assert [each.source for each in found] == ["2.md"]


def test_nothing_fits() -> None:
    assert assemble([passage("words")], 10) == ""
    assert assemble([], 1000) == ""


def test_what_was_said_is_not_said_again() -> None:
    found = choose([passage("The pump drips.\nMend it.", 1), passage("the pump  drips.", 2), passage("x", 3)], 1000)
    assert [each.source for each in found] == ["1.md", "3.md"]


def test_the_worst_goes_first_and_numbers_stay() -> None:
    text = assemble([passage(f"words {number}", number) for number in range(1, 6)], 10_000) + "The question"
    order = []
    while kept := [each.source for each in read_blocks(text)[0]]:
        order.append(kept)
        text = drop_worst(text)
    assert order == [
        ["1.md", "3.md", "5.md", "4.md", "2.md"], ["1.md", "3.md", "4.md", "2.md"], ["1.md", "3.md", "2.md"],
        ["1.md", "2.md"], ["1.md"],
    ]  # fmt: skip
    assert text == "The question"
    left = drop_worst(assemble([passage("a b c", 1), passage("d e f", 2), passage("g h i", 3)], 1000))
    assert [each.id for each in read_blocks(left)[0]] == ["1", "3"]
