"""Masking and the way back."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta
from guardrails.masking.mask import mask_text
from guardrails.masking.tags import TagKey
from guardrails.masking.unmask import Unmask
from guardrails.masking.vault import Vault
from guardrails.personal.patterns import find, resolve
from guardrails.span import Span

KEY = TagKey(b"secret", "app/conversation")
WORDS = [
    "jane@doe.example", "+49 171 2345678", "4111 1111 1111 1111", " ", "\\", "<", ">", "&lt;", "_", "x", "EMAIL_",
    "<EMAIL", "\n", "é", "&gt;", "'s", "PHONE", "-",
]  # fmt: skip
PIECES = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=12).map("".join)


def masked(text: str, vault: Vault) -> str:
    return mask_text(text, resolve(find(text)), vault)


def collected(deltas: list[Delta]) -> tuple[str, str, str]:
    pieces = [piece for delta in deltas for piece in delta.choices]
    arguments = "".join(call.arguments for piece in pieces for call in piece.tool_calls)
    return "".join(p.text for p in pieces), "".join(p.reasoning for p in pieces), arguments


@given(PIECES)
@example("\\jane@doe.example")
@settings(max_examples=1000)
@pytest.mark.slow
def test_the_way_back_leads_to_the_same_text(text: str) -> None:
    vault = Vault(KEY)
    tagged = masked(text, vault)
    assert vault.reveal(tagged) == text
    # A text that quotes a tag of the same conversation comes back as it was, too.
    again = masked(tagged + text, vault)
    assert vault.reveal(again) == tagged + text


def test_tags_are_the_same_for_the_same_value_and_differ_between_conversations() -> None:
    first, second = Vault(KEY), Vault(KEY)
    assert first.tag("EMAIL", "a@b.example") == second.tag("EMAIL", "a@b.example")
    assert first.tag("EMAIL", "a@b.example") != Vault(TagKey(b"secret", "another")).tag("EMAIL", "a@b.example")
    assert first.tag("EMAIL", "A@b.example") != first.tag("EMAIL", "a@b.example")


@pytest.mark.parametrize(
    "written",
    [
        "<{}>",
        "{}",
        "<{}",
        "{}>",
        "&lt;{}&gt;",
        "\\u003c{}\\u003e",
        "\\<{}\\>",
        "({})",
        "**{}**",
        "<{}>'s",
        "{}s",
        "`{}`",
    ],
)
@pytest.mark.parametrize("form", [str, str.lower, lambda name: name.replace("_", "-"), lambda n: n.replace("_", "\\_")])
def test_tags_are_known_however_the_model_writes_them(written: str, form: object) -> None:
    vault = Vault(KEY)
    name = vault.tag("PERSON", "Zoë").strip("<>")
    text = written.format(form(name))  # type: ignore[operator]
    assert "Zoë" in vault.reveal(text)
    assert name.lower() not in vault.reveal(text).lower()


PARTS = ["{0}", "{1}", "{0:.9}", "{1:.12}", "<", "a", " ", "EMAIL", "&lt;", "\\u003c{2}\\u003e", "{2}s"]


@given(st.lists(st.sampled_from(PARTS), max_size=12), st.lists(st.integers(0, 80)))
@settings(max_examples=3000)
@pytest.mark.slow
def test_any_split_of_the_stream_gives_the_same_text(parts: list[str], places: list[int]) -> None:
    vault = Vault(KEY)
    tags = vault.tag("EMAIL", "jane@doe.example"), vault.tag("PHONE", "+1 2"), vault.tag("US_SSN", '7"\n').strip("<>")
    text = "".join(parts).format(*tags)
    cuts = [0, *sorted({min(place, len(text)) for place in places}), len(text)]
    unmask = Unmask(vault)
    deltas: list[Delta] = []
    for start, end in itertools.pairwise(cuts):
        deltas += unmask.feed([Delta((ChoiceDelta(text=text[start:end]),))])
    deltas += unmask.feed([Delta((ChoiceDelta(finish="stop"),))])
    deltas += unmask.finish()
    assert collected(deltas)[0] == vault.reveal(text)
    assert deltas[-1].choices[-1].finish == "stop"


def test_nothing_is_held_back_that_can_be_no_tag() -> None:
    vault = Vault(KEY)
    tag = vault.tag("EMAIL", "jane@doe.example")
    unmask = Unmask(vault)

    def feed(text: str) -> str:
        return collected(unmask.feed([Delta((ChoiceDelta(text=text),))]))[0]

    assert feed("Dear customer,") == "Dear customer,"
    assert feed(" a < b and") == " a < b and"
    assert feed(" so" + tag[:5]) == " so"
    assert feed(tag[5:]) == "jane@doe.example"
    assert feed("<EMAIL_AAAA") == "<EMAIL_AAAA"
    assert Unmask(Vault(KEY)).feed([Delta((ChoiceDelta(text="<EMAIL_"),))])[0].choices[0].text == "<EMAIL_"


def test_an_untouched_delta_keeps_its_bytes() -> None:
    vault = Vault(KEY)
    vault.tag("EMAIL", "jane@doe.example")
    delta = Delta((ChoiceDelta(text="Hi."),), raw=b"{}")
    assert Unmask(vault).feed([delta])[0] is delta


def test_tool_arguments_only_where_allowed_and_as_json() -> None:
    vault = Vault(KEY)
    tag = vault.tag("PERSON", 'Jane "J" Doe\n')
    arguments = json.dumps({"name": tag})
    for tools, told in (([], tag), (["find"], 'Jane "J" Doe\n'), (["*"], 'Jane "J" Doe\n'), (["other"], tag)):
        unmask = Unmask(vault, tools)
        deltas = unmask.feed([Delta((ChoiceDelta(tool_calls=(ToolCallDelta(0, "c1", "find", arguments[:14]),)),))])
        deltas += unmask.feed([Delta((ChoiceDelta(tool_calls=(ToolCallDelta(0, arguments=arguments[14:]),)),))])
        deltas += unmask.feed([Delta((ChoiceDelta(finish="tool_calls"),))])
        assert json.loads(collected(deltas)[2]) == {"name": told}


def test_what_is_held_back_goes_before_what_follows_in_another_channel() -> None:
    vault = Vault(KEY)
    tag = vault.tag("EMAIL", "jane@doe.example")
    unmask = Unmask(vault)
    deltas = unmask.feed([Delta((ChoiceDelta(reasoning="so " + tag[:-1]),))])
    deltas += unmask.feed([Delta((ChoiceDelta(text="Yes"),))])
    pieces = [piece for delta in deltas for piece in delta.choices]
    assert [(piece.reasoning, piece.text) for piece in pieces] == [("so ", ""), ("jane@doe.example", ""), ("", "Yes")]


def test_two_values_that_share_letters_get_longer_tags() -> None:
    class Colliding(TagKey):
        def name(self, kind: str, value: str, letters: int = 6) -> str:
            return f"{kind}_AAAAAA" if letters == 6 else super().name(kind, value, letters)

    vault = Vault(Colliding(b"k", "s"))
    first, second = vault.tag("EMAIL", "a"), vault.tag("EMAIL", "b")
    assert first != second
    assert vault.reveal(first + second) == "ab"


def test_spans_that_overlap_are_masked_once() -> None:
    vault = Vault(KEY)
    assert vault.reveal(mask_text("abcdef", [Span(0, 3, "X"), Span(2, 5, "Y")], vault)) == "abcdef"
