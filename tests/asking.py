"""Questions to a gateway on its three surfaces, the words of its answers, and answers that call tools."""

from __future__ import annotations

import json
from typing import Any

from tests.live import Answer, Gateway


def ask(gateway: Gateway, surface: str, model: str, text: str, *, stream: bool = False, **more: Any) -> Answer:
    """One question on one of the three surfaces."""
    if surface == "openai":
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **more}
        return gateway.request("POST", "/v1/chat/completions", body)
    if surface == "anthropic":
        body = {
            "model": model,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            **more,
        }
        return gateway.request("POST", "/v1/messages", body)
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}
    return gateway.request("POST", f"/v1beta/models/{model}:{method}", body)


def words(answer: Answer, surface: str, *, stream: bool) -> str:
    """The words of an answer, put together."""
    assert answer.status == 200, answer.body
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    if surface == "openai":
        if not stream:
            return str(answer.json()["choices"][0]["message"]["content"])
        return "".join(each["choices"][0]["delta"].get("content") or "" for each in events if each.get("choices"))
    if surface == "anthropic":
        if not stream:
            return "".join(block.get("text", "") for block in answer.json()["content"])
        return "".join(each.get("delta", {}).get("text", "") for each in events)
    replies = events if stream else [answer.json()]
    parts = [part for each in replies for c in each["candidates"] for part in c.get("content", {}).get("parts", ())]
    return "".join(part.get("text", "") for part in parts)


def calling(*calls: tuple[str, dict[str, Any]]) -> Any:
    """An answer that calls tools."""
    made = [
        {"index": n, "id": f"c{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for n, (name, arguments) in enumerate(calls)
    ]
    return lambda _: {"content": "Let me see. ", "tool_calls": made}
