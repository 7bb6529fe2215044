"""The sentence that speaks of the thing asked for is quoted, not the general one that is nearer in words."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.context_block import write_block
from contract.messages import Message, Text
from contract.passages import Passage
from gateway.providers.extractive import answer
from gateway.providers.subjects import is_about_another, read_subject

Page = tuple[str, str, str]


def quoted(question: str, *pages: Page) -> str:
    block = write_block([Passage(name, place, text, 0.5, str(at)) for at, (name, place, text) in enumerate(pages, 1)])
    return asyncio.run(answer((Message("user", (Text(block + question),)),))).text


RENT: Page = ("rules.md", "Deposit > Amount, line 3", "Every flat has a deposit of three rents.")
CASES: list[tuple[str, tuple[Page, ...], str, str]] = [
    # An exclusion in another section.
    (
        "How high is the deposit for a garage?",
        (RENT, ("rules.md", "Deposit > Exceptions, line 9", "Garages, cellars and gardens need none.")),
        "Garages",
        "three rents",
    ),
    # An exclusion in the same section, and of a plural.
    (
        "How long may a trailer park in the yard?",
        (("yard.md", "Yard, line 2", "Cars park in the yard for two hours. Trailers are not allowed."),),
        "not allowed",
        "two hours",
    ),
    # Another document, with `except`.
    (
        "Which holiday allowance do interns get?",
        (
            ("leave.md", "Holiday allowance, line 1", "The holiday allowance is 28 days a year for all staff."),
            ("people.md", "Holiday, line 4", "The holiday allowance of interns is 12 days, except in May."),
        ),
        "12 days",
        "28 days",
    ),
    # An exception in another section of the same document, in other words than the question's.
    (
        "What does the express delivery to Norway cost?",
        (
            ("ship.md", "Delivery, line 1", "Express delivery costs 12 euros."),
            ("ship.md", "Delivery > Outside the EU, line 5", "We do not deliver to Norway or Switzerland."),
        ),
        "do not deliver to Norway",
        "12 euros",
    ),
    (
        "Does the travel insurance cover skiing?",
        (
            ("in.md", "Travel insurance > Cover, line 1", "The travel insurance covers a million euros."),
            ("in.md", "Travel insurance > Exclusions, line 5", "Skiing, diving and climbing are excluded."),
        ),
        "Skiing",
        "a million",
    ),
    (
        "How high is the baggage allowance for infants?",
        (
            ("air.md", "Baggage, line 1", "Each passenger has a baggage allowance of 23 kg."),
            ("air.md", "Children, line 5", "Infants have no allowance of their own."),
        ),
        "Infants",
        "23 kg",
    ),
    # A special case under a heading of its own.
    (
        "What is the maximum upload size in the free plan?",
        (
            ("plans.md", "Limits, line 1", "The maximum upload size is 2 GB."),
            ("plans.md", "Limits > Free plan, line 5", "In the free plan files may be at most 50 MB."),
        ),
        "50 MB",
        "2 GB",
    ),
    # A table's row.
    (
        "How long is the guarantee on the battery?",
        (
            ("bike.md", "Guarantee, line 1", "The guarantee on all parts is five years."),
            (
                "bike.md",
                "Parts, line 9",
                "| Part | Guarantee |\n|---|---|\n| Battery | one year |\n| Frame | ten years |",
            ),
        ),
        "one year",
        "five years",
    ),
    # Another product's sentence holds more of the question's words.
    (
        "How long is the warranty on the motor of the B200?",
        (
            ("b100.md", "B100, line 1", "The warranty on the motor of the B100 is ten years long."),
            ("b200.md", "B200, line 1", "The motor has a warranty of three years."),
        ),
        "three years",
        "ten years",
    ),
    # A special case that only its heading names.
    (
        "How long does shipping to Hawaii take?",
        (
            ("s.md", "Shipping, line 1", "Shipping takes three days within the United States."),
            ("s.md", "Shipping > Alaska and Hawaii, line 5", "Allow ten days."),
        ),
        "ten days",
        "three days",
    ),
    # An older version.
    (
        "What is the default timeout in version 3?",
        (
            ("v2.md", "Settings, line 1", "In version 2 the default timeout is 30 seconds."),
            ("v3.md", "Settings, line 1", "Since version 3 the timeout is 60 seconds."),
        ),
        "60 seconds",
        "30 seconds",
    ),
    # Another year.
    (
        "What was the revenue in 2025?",
        (
            ("2024.md", "Revenue, line 1", "The revenue was 12 million in 2024."),
            ("2025.md", "Revenue, line 1", "The revenue in 2025 was 15 million."),
        ),
        "15 million",
        "12 million",
    ),
    # A negation with the thing's own name.
    (
        "Can opened software be returned?",
        (("shop.md", "Returns, line 1", "Goods can be returned within 30 days. Opened software can't be returned."),),
        "can't be returned",
        "30 days",
    ),
]


# What speaks of the thing asked for in fewer of the question's words stands before what is said of all.
BEFORE: list[tuple[str, tuple[Page, ...], str, str]] = [
    (
        "What is the speed limit for trucks?",
        (
            ("road.md", "Limits, line 1", "The speed limit on motorways is 130 km/h."),
            ("road.md", "Heavy vehicles, line 7", "For trucks it is 80 km/h."),
        ),
        "80 km/h",
        "130 km/h",
    ),
    (
        "What does parking cost on Sundays?",
        (("p.md", "Parking, line 1", "Parking costs 3 euros an hour. Sundays are free."),),
        "Sundays are free",
        "3 euros",
    ),
    (
        "How often must the fire extinguisher in the kitchen be checked?",
        (
            ("f.md", "Extinguishers, line 1", "Fire extinguishers are checked every two years."),
            ("f.md", "Kitchen, line 6", "In the kitchen they are checked every six months."),
        ),
        "six months",
        "two years",
    ),
]


@pytest.mark.guarantee("truth", "The built-in model quotes the sentence about the subject of the question first")
@pytest.mark.parametrize(("question", "pages", "first", "then"), BEFORE)
def test_the_thing_asked_for_comes_first(question: str, pages: tuple[Page, ...], first: str, then: str) -> None:
    for order in (pages, tuple(reversed(pages))):
        text = quoted(question, *order)
        assert first in text, text
        assert then not in text or text.index(first) < text.index(then), text


@pytest.mark.guarantee(
    "truth", "The built-in model quotes the sentence about the subject of the question, not about a similar one"
)
@pytest.mark.parametrize(("question", "pages", "says", "not_this"), CASES)
def test_the_thing_asked_for_decides(question: str, pages: tuple[Page, ...], says: str, not_this: str) -> None:
    for order in (pages, tuple(reversed(pages))):
        text = quoted(question, *order)
        assert says in text, text
        assert not_this not in text, text


@pytest.mark.guarantee(
    "truth", "The built-in model quotes a general sentence if the page is about the subject of the question"
)
def test_the_general_answer_stays_where_the_thing_is_what_it_is_about() -> None:
    page = ("a300.md", "A300 > Printing, line 7", "It prints 38 pages a minute. The A300 does not print on glass.")
    assert "38 pages" in quoted("How many pages a minute does the A300 print?", page)
    assert "three rents" in quoted("How high is the deposit for a flat?", RENT)


@pytest.mark.guarantee("truth", "The built-in model quotes an answer together with its limits")
def test_what_limits_an_answer_is_quoted_with_it() -> None:
    page = ("d.md", "Drums, line 1", "Drums have a warranty of one year. However, this ends after 9,000 pages.")
    text = quoted("How long is the warranty on drums?", page)
    assert "one year. However, this ends" in text
    text = quoted(
        "Can dogs enter the museum?",
        ("m.md", "Visit, line 1", "Visitors can enter the museum until 17:30."),
        ("m.md", "Rules, line 5", "Dogs must stay outside, except guide dogs."),
    )
    assert text.index("Dogs must stay outside") < text.index("17:30")
    text = quoted(
        "May visitors borrow laptops?",
        ("it.md", "Loans, line 1", "Staff borrow laptops for two weeks."),
        ("desk.md", "Desk, line 1", "Only members may borrow laptops."),
    )
    assert text.index("Only members") < text.find("two weeks") % 10_000


@pytest.mark.guarantee("truth", "The built-in model quotes the rows of a query completely and in order")
def test_rows_are_one_quote_in_their_order() -> None:
    rows = "| region | sales |\n|---|---|\n| north | 9 |\n| south | 7 |\n| west | 5 |\n| east | 1 |"
    text = quoted("What are the sales by region?", ("orders", "SELECT region, sum(sales) FROM orders", rows))
    places = [text.index(f"region: {name}") for name in ("north", "south", "west", "east")]
    assert places == sorted(places)
    assert text.count("[orders") == 1


def test_marks_are_compared_by_their_kind() -> None:
    subject = read_subject("Which paper does the A300 take?")
    assert not is_about_another(subject, "The A300 takes A4 and A5.", ("", ""))
    assert not is_about_another(subject, "A4 and Letter fit.", ("a300.md", "A300"))
    assert is_about_another(subject, "The A200 takes A4.", ("", ""))
    assert is_about_another(subject, "It takes A4.", ("a200.md", "A200"))
    assert not is_about_another(subject, "The A200 and the A300 take A4.", ("", ""))


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=40))
def test_any_text_gets_an_answer(question: str, text: str, place: str) -> None:
    assert quoted(question, ("a.md", place.replace("\x00", ""), text))
