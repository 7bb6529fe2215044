"""Equal requests at once share one call, and what becomes of it when one leaves or it fails."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.cache.cached import QUESTION, ask, kind, ready, words
from tests.live import Answer, Gateway
from tests.recording import Recording


def at_once(count: int, gateway: Gateway, **more: Any) -> list[Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(gateway, QUESTION, **more), range(count)))


@pytest.mark.parametrize("model", ["kept", "meaning"])
@pytest.mark.parametrize("stream", [False, True])
def test_equal_requests_at_once_make_one_call(gateway: Gateway, upstream: Recording, stream: bool, model: str) -> None:
    ready(gateway)

    def slow(_: dict[str, Any]) -> str:
        time.sleep(0.5)
        return "Nine thousand pages, and a few more words."

    upstream.answers += [slow] * 200
    answers = at_once(100, gateway, stream=stream, model=model)
    assert len(upstream.bodies) == 1
    assert {words(each) for each in answers} == {"Nine thousand pages, and a few more words."}
    assert sum(kind(each) == "miss" for each in answers) == 1
    # Who is late on a busy machine finds it stored; by its meaning, if it was stored in the middle of the look-up.
    stored = {"exact", "semantic"} if model == "meaning" else {"exact"}
    assert {kind(each) for each in answers} <= {"miss", "shared", *stored}


def test_the_others_go_on_when_the_first_leaves(gateway: Gateway, upstream: Recording) -> None:
    begun = threading.Event()

    def slow(_: dict[str, Any]) -> str:
        begun.set()
        time.sleep(0.6)
        return "Nine thousand."

    upstream.answers += [slow] * 3
    leaver = http.client.HTTPConnection("127.0.0.1", gateway.port)
    body = json.dumps({"model": "kept", "messages": [{"role": "user", "content": QUESTION}]})
    leaver.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer test-key"})
    assert begun.wait(5)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, gateway, QUESTION) for _ in range(3)]
        time.sleep(0.2)
        leaver.close()
        answers = [each.result() for each in waiting]
    assert [words(each) for each in answers] == ["Nine thousand."] * 3
    assert {kind(each) for each in answers} == {"shared"}
    assert len(upstream.bodies) == 1


def test_a_call_that_fails_fails_for_all_and_the_next_tries_again(gateway: Gateway, upstream: Recording) -> None:
    answers = at_once(20, gateway, model="cutting")
    assert {each.status for each in answers} == {502}
    streams = at_once(20, gateway, model="cutting", stream=True)
    assert all(b"error" in each.body and b"[DONE]" not in each.body for each in streams)
