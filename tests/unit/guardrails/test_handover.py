"""When a person is asked for, and how whoever answers hears of it."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from contract.caller import Caller
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from guardrails.chain import Chain
from guardrails.handover import PHRASES, HandoverGuard
from guardrails.verdict import Policy
from guardrails.webhook import Handover


def _request(*turns: str) -> ChatRequest:
    messages = [m for turn in turns for m in (Message("user", (Text(turn),)), Message("assistant", (Text("Hm."),)))]
    return ChatRequest(dialect="openai", model="m", messages=tuple(messages[:-1]))


def _reason(request: ChatRequest, handover: Handover | None = None, after_turns: int = 5) -> tuple[str, Exchange]:
    exchange = Exchange("s")
    exchange.caller = Caller("app")

    async def run() -> None:
        policy = Policy("g", {"*": "human"}, say="Wait.", handover=handover)
        guarded = await Chain([HandoverGuard(policy, PHRASES, after_turns, 3, angry=True)]).open(request, exchange)
        if guarded.answer is not None:
            deltas = await guarded.answer.next()
            assert deltas is not None
            assert deltas[0].choices[0].text == f"Wait. (reference: {exchange.id})"
        # The webhook is not waited for by anybody but this test.
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(run())
    return exchange.findings[0].rule if exchange.findings else "", exchange


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (["Can I talk to a human?"], "asked for"),
        (["Ich möchte mit einem Mitarbeiter sprechen!"], "asked for"),
        (["a", "b", "c", "d", "e", "f"], "too many turns"),
        (["Where is my parcel?", "Hm", "Where is my parcel", "where is my parcel ?"], "asked again and again"),
        (["WHERE IS MY PARCEL NOW"], "angry"),
        (["where is it!!!"], "angry"),
        (["Where is my parcel?"], ""),
        (["What is a human?"], ""),
        (["What does HTTP mean?"], ""),
    ],
)
def test_reasons(turns: list[str], reason: str) -> None:
    assert _reason(_request(*turns))[0] == reason


def test_the_webhook_hears_the_reason_and_no_word() -> None:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    _, exchange = _reason(
        _request("talk to a human about jane@doe.example"), Handover(f"http://127.0.0.1:{server.server_port}/")
    )
    thread.join(5)
    server.server_close()
    event = json.loads(bodies[0])
    assert event["id"] == exchange.id
    assert (event["event"], event["app"], event["reason"]) == ("human_requested", "app", "asked for")
    assert b"jane" not in bodies[0]


def test_a_dead_webhook_does_not_keep_the_caller() -> None:
    assert _reason(_request("talk to a human"), Handover("http://127.0.0.1:9/"))[0] == "asked for"
