"""Questions in other words find the answer that is kept for the first."""

from __future__ import annotations

import json
import time

from tests.integration.cache.cached import ask, kind, ready, words
from tests.live import Gateway
from tests.recording import Recording


def test_other_words_for_the_same_question_find_its_answer(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)
    upstream.answers += [lambda _: "Thirty-eight."] + [lambda body: f"new: {json.dumps(body)[-60:]}"] * 30
    asked = "How many pages a minute does the A300 print?"
    same = "How many pages per minute does the A300 printer print?", "How many pages does the A300 print a minute?"
    assert kind(ask(gateway, asked, model="meaning")) == "miss"
    time.sleep(0.1)
    found = [ask(gateway, each, model="meaning") for each in same]
    assert "semantic" in [kind(each) for each in found]
    hit = next(each for each in found if kind(each) == "semantic")
    assert words(hit) == "Thirty-eight."
    assert float(hit.headers["x-gatehouse-cache-similarity"]) >= 0.9
    # What is another question gets another answer.
    for other in (
        "How many pages a minute does the A301 print?",
        "How many pages an hour does the A300 print?",
        "How many pages a minute does the A300 not print?",
        "How many pages a minute does the B500 print?",
        "How many photos a minute does the A300 print?",
        "Why does the A300 print many pages a minute?",
    ):
        assert kind(ask(gateway, other, model="meaning")) == "miss", other
    # Nor is another app's, another system prompt's, or a later turn's question the same.
    assert kind(ask(gateway, asked, model="meaning", key="other-key")) == "miss"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": same[0]}]
    assert kind(ask(gateway, "", model="meaning", messages=turns)) == "miss"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, turns[1]]
    assert kind(ask(gateway, "", model="meaning", messages=turns)) == "miss"


def test_a_wrong_answer_is_removed_and_teaches(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)
    upstream.answers += [lambda _: "Black."] + [lambda _: "Grey."] * 9
    ask(gateway, "What colour is the toner of the A700?", model="meaning")
    time.sleep(0.1)
    hit = ask(gateway, "What is the colour of the A700's toner?", model="meaning")
    assert kind(hit) == "semantic"
    entry = hit.headers["x-gatehouse-cache-entry"]
    assert gateway.request("DELETE", f"/v1/cache/{entry}").json() == {"removed": 1}
    assert words(ask(gateway, "What is the colour of the A700's toner?", model="meaning")) == "Grey."
    status = gateway.request("GET", "/health").json()
    assert "1 observations" in json.dumps(status) or "observations" in json.dumps(status)


def test_a_later_turn_is_compared_by_what_it_means(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)

    def turns(*texts: str) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]

    upstream.answers += [lambda _: "Grey."]
    ask(gateway, "What colour is the toner of the B900?", model="talk")
    time.sleep(0.1)
    upstream.answers += [
        lambda _: '{"question": "What is the colour of the B900\'s toner?", "unknown": ""}',
        lambda _: "No.",
    ]
    talk = turns("What colour is the toner of the A700?", "Black.", "And that of the B900?")
    answer = ask(gateway, "", model="talk", messages=talk)
    assert (kind(answer), words(answer)) == ("semantic", "Grey.")
    # Nobody asks a model twice for the same, and what refers to nothing known is not compared.
    upstream.bodies.clear()
    upstream.answers[:] = [lambda _: '{"question": "And its weight?", "unknown": "what it is"}', lambda _: "Of what?"]
    answer = ask(gateway, "", model="talk", messages=turns("Hello", "Hi!", "And what is its weight then?"))
    assert (kind(answer), words(answer)) == ("miss", "Of what?")
    assert len(upstream.bodies) == 2


def test_in_the_shadow_nothing_is_given(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)
    upstream.answers += [lambda _: "Black."] * 9
    ask(gateway, "What colour is the toner of the A700?", model="shadow")
    time.sleep(0.1)
    assert kind(ask(gateway, "What is the colour of the A700's toner?", model="shadow")) == "miss"
    time.sleep(0.1)
    assert "shadow mode; threshold 0.90; 1 observations" in gateway.request("GET", "/health").body.decode()


def test_an_answer_by_meaning_dies_with_its_passages(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)

    def put(name: str, text: str) -> None:
        documents = [{"id": name, "text": text}]
        assert gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}).status == 200

    put("tray.md", "The tray of the A700 holds 250 sheets.")
    upstream.answers += [lambda _: "250 [1]."] + [lambda _: "300 [1]."] * 9
    ask(gateway, "How many sheets does the tray of the A700 hold?", model="library")
    time.sleep(0.1)
    again = "How many sheets does the A700's tray hold?"
    # Another document changes nothing for this one.
    put("other.md", "Bicycles have two wheels.")
    assert kind(ask(gateway, again, model="library")) == "semantic"
    put("tray.md", "The tray of the A700 holds 300 sheets.")
    answer = ask(gateway, again, model="library")
    assert (kind(answer), words(answer)) == ("miss", "300 [1].")
    for name in ("tray.md", "other.md"):
        gateway.request("DELETE", f"/v1/sources/notes/documents/{name}")
