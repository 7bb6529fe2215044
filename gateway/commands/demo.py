"""`gatehouse demo`: serves the demo config and sends real requests to it; no API keys and no network access needed."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from contract.errors import InternalFault
from contract.outbound import Call, Outbound
from gateway.assembly.configuration import load
from gateway.process.app import Server, make_server
from observability.logs import configure_logging
from observability.screen import show
from observability.waterfall import waterfall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.exchange import Exchange

CONFIG = Path(__file__).resolve().parents[2] / "config" / "examples" / "demo.yaml"
KEY = "gatehouse-demo"
PREPARE_S = 120.0
ASK_S = 30.0
MAX_RESPONSE = 1_000_000
QUESTION = "How many pages a minute does the A300 print?"
FOLLOW_UP = "And how soon does it give the first page?"
# Title, model, earlier messages, question.
STEPS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("A question, answered from a folder of documents by the built-in, extractive model", "support", (), QUESTION),
    ("A follow-up question, completed from the conversation", "support", (QUESTION, "38 pages a minute."), FOLLOW_UP),
    ("A document that contains a prompt injection: it is removed, the rest is quoted", "support", (),
     "Which paper does the A300 take?"),
    ("A question answered by SQL: a fake model writes it, Gatehouse checks and runs it", "sales", (),
     "What are the total sales by region?"),
    ("A question to a model whose first target is down: the fallback answers", "fallback", (),
     "How long is the warranty on a drum unit?"),
)  # fmt: skip


def run(check: bool) -> int:
    """Runs the steps, then serves until it is interrupted; with `check` it exits. Returns the exit code."""
    configure_logging("off")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(check))


async def _run(check: bool) -> int:
    config = load(CONFIG, listen=_listen())
    server = make_server(config, CONFIG, config.server.listen)
    finished: asyncio.Queue[Exchange] = asyncio.Queue()
    if server.runtime is None:
        raise InternalFault("the server has no runtime")
    server.runtime.recorder.listen(finished.put_nowait)
    serving = asyncio.create_task(server.serve())
    outbound = Outbound("demo")
    try:
        while not server.started:
            if serving.done():
                return 1
            await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        _say(f"Gatehouse serves {CONFIG.name} at {url}\n")
        await _prepare(server)
        for number, (title, model, before, question) in enumerate(STEPS, 1):
            history = "".join(f"   {'>' if place % 2 == 0 else '<'} {text}\n" for place, text in enumerate(before))
            _say(f"{number}. {title}\n{history}   > {question}\n")
            answer = await _ask(outbound, url, model, (*before, question))
            _say("   " + answer.strip().replace("\n", "\n   ") + "\n")
            show(waterfall(await finished.get()))
            _say("")
        _say(_next_steps(url))
        if not check:
            _say("Serving. Press Ctrl-C to stop.")
            await serving
            return 0
    finally:
        await outbound.close()
        server.should_exit = True
        await serving
    _say("The demo worked.")
    return 0


def _listen() -> str:
    """Returns the address in the config, or a free port if that one is in use."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 8080))
        except OSError:
            return "127.0.0.1:0"
    return "127.0.0.1:8080"


async def _prepare(server: Server) -> None:
    """Waits until all parts are ready: the first start embeds the documents."""
    runtime = server.runtime
    until = time.monotonic() + PREPARE_S
    announced = False
    while runtime is not None and time.monotonic() < until:
        if not any(
            each in line for each in ("loading", "reading", "embedding them") for line in runtime.parts().values()
        ):
            break
        if not announced:
            announced = True
            _say("Loading the embedding model, and embedding the documents on the first start ...")
        await asyncio.sleep(0.1)
    if runtime is not None:
        for name, line in runtime.parts().items():
            _say(f"  {name}: {line}")
    _say("")


async def _ask(outbound: Outbound, url: str, model: str, turns: Sequence[str]) -> str:
    """Returns the answer to the last of `turns`, in which the user and the model alternate."""
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]
    body = json.dumps({"model": model, "messages": messages}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    async with outbound.open(Call(f"{url}/v1/chat/completions", ASK_S, headers, body, private=True)) as response:
        data = await response.read(MAX_RESPONSE)
    if response.status != 200:
        raise InternalFault(f"the demo's own server responded with {response.status}")
    answer: dict[str, Any] = json.loads(data)
    return str(answer["choices"][0]["message"]["content"])


def _next_steps(url: str) -> str:
    return f"""\
Use it from the OpenAI SDK:

    from openai import OpenAI

    client = OpenAI(base_url="{url}/v1", api_key="{KEY}")
    answer = client.chat.completions.create(
        model="support",
        messages=[{{"role": "user", "content": "{QUESTION}"}}],
    )
    print(answer.choices[0].message.content)

See {url}/health and {url}/metrics, and the config {CONFIG}.
"""


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
