"""Public reports about pictures, sounds and files that arrive as something else, or not at all."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import Request, events, gemini_reply, house, openai_reply, plain, response, user

JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF").decode()


def picture(url: str) -> list[dict[str, Any]]:
    return [user([{"type": "image_url", "image_url": {"url": url}}])]


def file(**fields: Any) -> list[dict[str, Any]]:
    return [user([{"type": "file", "file": fields}, {"type": "text", "text": "sum it up"}])]


@pytest.mark.report("contents", "An image's media type follows its bytes, in the next provider's spelling")
def test_types_of_pictures(tmp_path: Path) -> None:
    cases = [
        ("data:image/jpg;base64,AAAA", "image/jpeg"),
        ("data:IMAGE/PNG;charset=utf-8;base64,AAAA", "image/png"),
        (f"data:;base64,{JPEG}", "image/jpeg"),
        (f"data:application/octet-stream;base64,{PNG}", "image/png"),
        (f"data:image/png;base64,{JPEG}", "image/jpeg"),
    ]
    with house(tmp_path) as it:
        for url, kind in cases:
            it.chat("a", picture(url))
            assert it.last["messages"][0]["content"][0]["source"]["media_type"] == kind
            it.chat("g", picture(url))
            assert it.last["contents"][0]["parts"][0]["inlineData"]["mimeType"] == kind
            # The caller's own vendor gets what the caller has sent.
            it.chat("o", picture(url))
            assert it.last["messages"][0]["content"][0]["image_url"]["url"] == url
        it.generate("o", [{"parts": [{"inlineData": {"mimeType": "image/jpg", "data": "AAAA"}}]}])
        assert it.last["messages"][0]["content"][0]["image_url"]["url"] == "data:image/jpeg;base64,AAAA"
        answer = it.chat("a", [*picture("data:image/tiff;base64,AAAA"), user()])
        assert "image" in answer.headers["x-gatehouse-dropped-params"]


@pytest.mark.report("contents", "A linked image's media type comes from its URL, or is left out")
@pytest.mark.parametrize(
    ("address", "kind"),
    [("photo.jpg?x=1", "image/jpeg"), ("a.b/PHOTO.WEBP#top", "image/webp"), ("photo", None), ("view?f=a.png", None)],
)
def test_types_of_linked_pictures(tmp_path: Path, address: str, kind: str | None) -> None:
    with house(tmp_path) as it:
        it.chat("g", picture(f"https://example.com/{address}"))
        sent = it.last["contents"][0]["parts"][0]["fileData"]
    assert sent.get("mimeType") == kind
    assert sent["fileUri"] == f"https://example.com/{address}"


@pytest.mark.report("contents", "A file's bytes and media type do not change, with or without a data URL prefix")
def test_files(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for data in (PDF, f"data:application/pdf;base64,{PDF}", f"data:application/octet-stream;base64,{PDF}"):
            sent = {"filename": "a.pdf", "file_data": data, "unknown": 1}
            it.chat("o", file(**sent))
            assert it.last["messages"][0]["content"][0]["file"] == sent
            it.chat("a", file(filename="a.pdf", file_data=data))
            source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
            assert it.last["messages"][0]["content"][0] == {"type": "document", "source": source, "title": "a.pdf"}
            it.chat("g", file(filename="a.pdf", file_data=data))
            assert it.last["contents"][0]["parts"][0]["inlineData"] == {"mimeType": "application/pdf", "data": PDF}
        linked = {"filename": "a.pdf", "file_url": "https://example.com/a.pdf"}
        it.chat("o", file(**linked))
        assert it.last["messages"][0]["content"][0]["file"] == linked
        it.chat("a", file(**linked))
        assert it.last["messages"][0]["content"][0]["source"] == {"type": "url", "url": linked["file_url"]}
        it.chat("g", file(**linked))
        sent = it.last["contents"][0]["parts"][0]["fileData"]
        assert sent == {"mimeType": "application/pdf", "fileUri": linked["file_url"]}


@pytest.mark.report("contents", "A text file reaches every provider as text, whatever its media type")
def test_text_files(tmp_path: Path) -> None:
    words = base64.b64encode(b"a,b\n1,2\n").decode()
    with house(tmp_path) as it:
        it.chat("a", file(filename="table.csv", file_data=words))
        source = it.last["messages"][0]["content"][0]["source"]
        assert source == {"type": "text", "media_type": "text/plain", "data": "a,b\n1,2\n"}
        it.chat("g", file(filename="table.csv", file_data=words))
        assert it.last["contents"][0]["parts"][0]["inlineData"]["mimeType"] == "text/csv"
        block = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Words"}}
        held = {
            "type": "document",
            "title": "T",
            "source": {"type": "content", "content": [{"type": "text", "text": "Held"}]},
        }
        it.messages("o", [user([block, held])])
        assert [part["text"] for part in it.last["messages"][0]["content"]] == ["Words", "T\nHeld"]
        it.messages("g", [user([block, held])])
        assert it.last["contents"][0]["parts"] == [{"text": "Words"}, {"text": "T\nHeld"}]


@pytest.mark.report("contents", "A file stored at one provider is an error at any other, not a silently dropped file")
def test_files_of_one_vendor(tmp_path: Path) -> None:
    kept = {"type": "file", "file_id": "f1"}
    google = {
        "fileData": {"mimeType": "image/png", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}
    }
    with house(tmp_path) as it:
        answers = [
            it.chat("a", file(file_id="f1")),
            it.chat("g", file(file_id="f1")),
            it.messages("o", [user([{"type": "document", "source": kept}])]),
            it.messages("g", [user([{"type": "image", "source": kept}])]),
            it.generate("o", [{"parts": [google]}]),
            it.generate("a", [{"parts": [google]}]),
        ]
        assert [answer.status for answer in answers] == [400] * len(answers)
        assert b"only the vendor that stores it" in answers[0].body
        assert not it.upstream.requests
        it.chat("o", file(file_id="f1"))
        assert it.last["messages"][0]["content"][0]["file"] == {"file_id": "f1"}


def shown(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Two calls in one turn, whose first result holds the parts."""
    calls: list[dict[str, Any]] = [
        {"type": "tool_use", "id": each, "name": "look", "input": {}} for each in ("t1", "t2")
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": list(parts)},
        {"type": "tool_result", "tool_use_id": "t2", "content": "nothing"},
    ]
    return [user(), {"role": "assistant", "content": calls}, user([*results, {"type": "text", "text": "well?"}])]


@pytest.mark.report("contents", "An image in a tool result reaches every provider, after the results of the same turn")
def test_pictures_in_results(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    with house(tmp_path) as it:
        it.messages("o", shown(image))
        roles = [message["role"] for message in it.last["messages"]]
        assert roles == ["user", "assistant", "tool", "tool", "user", "user"]
        assert all(isinstance(each["content"], str) for each in it.last["messages"] if each["role"] == "tool")
        assert it.last["messages"][4]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"

        it.messages("g", shown({"type": "text", "text": "see"}, image))
        parts = it.last["contents"][2]["parts"]
        assert [next(iter(part)) for part in parts] == ["functionResponse", "functionResponse", "inlineData", "text"]
        assert parts[0]["functionResponse"]["response"] == {"output": "see"}

        it.messages("a", shown(image))
        assert it.last["messages"][2]["content"][0]["content"] == [image]

        response: dict[str, Any] = {"id": "x", "name": "f", "response": {"output": "see"}}
        response["parts"] = [{"inlineData": {"mimeType": "image/png", "data": PNG, "displayName": "p"}}]
        call = {"role": "model", "parts": [{"functionCall": {"id": "x", "name": "f", "args": {}}}]}
        turns = [
            {"role": "user", "parts": [{"text": "hi"}]},
            call,
            {"role": "user", "parts": [{"functionResponse": response}]},
        ]
        it.generate("g", turns)
        assert it.last["contents"][2]["parts"] == [{"functionResponse": response}]
        it.generate("a", turns)
        assert it.last["messages"][2]["content"][0]["content"] == [{"type": "text", "text": "see"}, image]

        # OpenAI's own callers may send what their server takes.
        result = {
            "role": "tool",
            "tool_call_id": "c",
            "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}],
        }
        function = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        it.chat("o", [user(), {"role": "assistant", "tool_calls": [function]}, result])
        assert it.last["messages"][2] == result


def draws(request: Request) -> bytes:
    if ":" not in request.path:
        return plain(request)
    picture = {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "U0lH"}
    code = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
    parts: list[dict[str, Any]] = [code, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}}, picture]
    if request.streams:
        return events(*[gemini_reply(part, finish="") for part in parts[:-1]], gemini_reply(parts[-1]), done=False)
    return response(gemini_reply(*parts))


@pytest.mark.report(
    "contents",
    "Images that a model makes and code that it runs are in the answer, or the answer reports them as dropped",
)
def test_pictures_in_answers(tmp_path: Path) -> None:
    with house(tmp_path, draws) as it:
        message = it.chat("g").json()["choices"][0]["message"]
        assert message["images"][0]["image_url"] == {"url": f"data:image/png;base64,{PNG}"}
        assert "print(1)" in message["content"]
        assert f"data:image/png;base64,{PNG}".encode() in it.chat("g", stream=True).body
        # The next turn shows the model its own picture.
        it.chat("g", [user(), message, user("another")])
        made = [part for part in it.last["contents"][1]["parts"] if "inlineData" in part]
        assert made == [{"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "U0lH"}]

        answer = it.messages("g")
        words = "".join(block["text"] for block in answer.json()["content"])
        assert "print(1)" in words
        assert "An image" in words
        assert answer.headers["x-gatehouse-dropped-params"] == "answer.image"
        assert b"An image" in it.messages("g", stream=True).body


@pytest.mark.report("contents", "Images from an OpenAI-compatible server reach callers of Gemini's API")
def test_pictures_of_compatible_servers(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    with house(tmp_path, lambda _: response(openai_reply("", images=[image]))) as it:
        parts = it.generate("o").json()["candidates"][0]["content"]["parts"]
        assert {"inlineData": {"mimeType": "image/png", "data": PNG}} in parts
        assert it.chat("o").json()["choices"][0]["message"]["images"] == [image]


@pytest.mark.report("contents", "An image that is sent as a file reaches every provider as an image")
def test_pictures_called_files(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        it.chat("a", file(filename="scan.png", file_data=PNG))
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        assert it.last["messages"][0]["content"][0] == {"type": "image", "source": source}
        linked = [{"parts": [{"fileData": {"fileUri": "https://example.com/a.jpg"}}]}]
        it.generate("a", linked)
        url = {"type": "url", "url": "https://example.com/a.jpg"}
        assert it.last["messages"][0]["content"][0] == {"type": "image", "source": url}
        it.generate("o", linked)
        assert it.last["messages"][0]["content"][0]["image_url"] == {"url": "https://example.com/a.jpg"}
        it.generate("g", linked)
        assert it.last["contents"] == [{"role": "user", **linked[0]}]


@pytest.mark.report(
    "contents", "Audio reaches providers that support it, each in its own format, and is reported as dropped for others"
)
def test_sound(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        it.generate("o", [{"parts": [{"inlineData": {"mimeType": "audio/mpeg", "data": "AAAA"}}]}])
        assert it.last["messages"][0]["content"][0]["input_audio"] == {"data": "AAAA", "format": "mp3"}
        sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
        it.chat("g", [user([sound])])
        assert it.last["contents"][0]["parts"][0]["inlineData"] == {"mimeType": "audio/wav", "data": "AAAA"}
        answer = it.chat("a", [user([sound, {"type": "text", "text": "hi"}])])
        assert "audio" in answer.headers["x-gatehouse-dropped-params"]
        assert "AAAA" not in json.dumps(it.last)


@pytest.mark.report("media types", "Base64 with line breaks reaches every provider intact")
def test_base64_in_lines(tmp_path: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA\r\nAA \n"}}
    with house(tmp_path) as it:
        it.chat("a", [user([part])])
        assert it.last["messages"][0]["content"][0]["source"]["data"] == "AAAA"
        it.chat("g", [user([part])])
        assert it.last["contents"][0]["parts"][0]["inlineData"]["data"] == "AAAA"
