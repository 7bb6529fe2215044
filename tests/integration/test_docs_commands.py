"""What pages show beside YAML and Python: commands, requests by curl, and what these print."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import typer.main
from typer.testing import CliRunner

from gateway.commands.cli import app
from gateway.simulator.server import running
from tests.documentation import PAGES, ROOT, Block, blocks, blocks_of, commands, statements
from tests.live import Gateway, running_gateway

COMMAND = typer.main.get_command(app)
SHELL = blocks_of("sh", "console")
# Programs that pages name and that are not ours: that they are called rightly is not ours to test.
OTHERS = {
    "aider", "bash", "claude", "cline", "curl", "echo", "export", "gemini", "gh", "git", "grep", "kill", "mkdocs",
    "openssl", "pg_dump", "pip", "redis-cli",
}  # fmt: skip
# What `./gatehouse` does itself.
LAUNCHER = set(re.findall(r"^(\w+)\)$", (ROOT / "gatehouse").read_text(), re.MULTILINE))
KEYS = {name: f"value-of-{name}-{'x' * 32}" for name in ("BOT_KEY", "MY_APP_KEY", "OLGAS_KEY", "BOARD_KEY")}
CONFIG = f"""version: 1
server: {{database: "sqlite:///gatehouse.db", data: data}}
providers: {{pretend: {{kind: simulated}}}}
models:
  {{quick: {{targets: [pretend/m]}}, support: {{targets: [pretend/m]}}, vectors: {{targets: [pretend/m]}},
   cached: {{pipeline: cached}}}}
pipelines: {{cached: {{cache: answers, model: quick, context: {{from: [notes]}}}}}}
caches: {{answers: {{}}}}
sources: {{notes: {{kind: documents}}}}
teams: {{support: {{}}}}
apps:
  bot: {{team: support, keys: [gatehouse-demo, {KEYS["BOT_KEY"]}, {KEYS["MY_APP_KEY"]}], ingest: [notes]}}
admin: {{keys: {{olga: {{key: {KEYS["OLGAS_KEY"]}, role: owner}}, board: {{key: {KEYS["BOARD_KEY"]}, role: viewer}}}}}}
observe: {{log: "off"}}
"""
BROKEN = """version: 1
providers: {openai: {kind: openai, api_key: "${OPENAI_API_KEY}"}}
models: {quick: {target: [openai/gpt-5.4-mini], timeout: 20}}
"""


def of(block: Block, program: str) -> list[list[str]]:
    """The arguments of each call of `program`."""
    found = [words for statement in statements(block) for words in commands(statement)]
    return [words[1:] for words in found if words[0] == program]


@pytest.mark.guarantee("documentation", "Every command in the documentation uses options that exist")
@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_is_known(block: Block) -> None:
    for statement in statements(block):
        for program, *arguments in commands(statement):
            name = Path(program).name
            if name == "gatehouse":
                if program != "./gatehouse" or arguments[0] not in LAUNCHER:
                    check_call(arguments)
            elif name in ("python", "python3"):
                check_python(arguments)
            else:
                assert name in OTHERS, f"what is {program}?"


def check_call(arguments: list[str]) -> None:
    """That the command has these options and takes that many arguments."""
    command: Any = COMMAND
    rest = list(arguments)
    if rest == ["--version"]:
        return
    while hasattr(command, "commands"):
        assert rest, "a command is missing"
        assert rest[0] in command.commands, f"there is no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    options = {name: each for each in command.params for name in each.opts if each.param_type_name == "option"}
    places = [each for each in command.params if each.param_type_name == "argument"]
    given = set()
    values = 0
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            values += 1
            continue
        assert word in options, f"{command.name} has no option {word}"
        given.add(options[word].name)
        if not options[word].is_flag:
            assert rest, f"{word} needs a value"
            rest.pop(0)
    assert {each.name for each in options.values() if each.required} <= given, f"{command.name} needs more options"
    assert len([each for each in places if each.required]) <= values, f"{command.name} needs more arguments"
    assert any(each.nargs == -1 for each in places) or values <= len(places), f"{command.name} takes fewer arguments"


def check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]) is not None
    else:
        assert (ROOT / arguments[0]).is_file()


def test_a_wrong_command_is_found() -> None:
    for wrong in ("plan", "plan quick --fast", "keys create --name x", "plan quick strong", "keys made", "usage --by"):
        with pytest.raises(AssertionError):
            check_call(wrong.split())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("docs")
    with running_gateway(CONFIG, folder) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """What `gatehouse demo` serves."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "config/examples", folder, dirs_exist_ok=True)
    with running_gateway((folder / "demo.yaml").read_text(), folder) as gateway:
        yield gateway


class Request:
    """What curl is told to send."""

    def __init__(self, words: list[str]) -> None:
        self.method, self.data, self.url = "", "", ""
        self.headers: dict[str, str] = {"authorization": ""}
        words = [os.path.expandvars(each) for each in words]
        while words:
            word = words.pop(0)
            if word == "-X":
                self.method = words.pop(0)
            elif word == "-H":
                name, _, value = words.pop(0).partition(":")
                self.headers[name.lower()] = value.strip()
            elif word == "-d":
                self.data = words.pop(0)
            elif not re.fullmatch("-[sN]+", word):
                assert not word.startswith("-"), f"{word} of curl is not known here"
                self.url = re.sub("^http://", "", word)
        self.host, _, self.path = self.url.partition("/")

    def send(self, gateway: Gateway) -> Any:
        method = self.method or ("POST" if self.data else "GET")
        return gateway.request(method, f"/{self.path}", self.data.encode() or None, self.headers)


CURLS = [each for each in SHELL if of(each, "curl")]
EXPECTED: dict[str, str] = {str(each.above): each.text for each in blocks_of("json") if each.above is not None}


@pytest.mark.guarantee("documentation", "Every curl request in the documentation gets an answer")
@pytest.mark.parametrize("block", CURLS, ids=str)
def test_requests_by_curl_are_answered(block: Block, monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for words in of(block, "curl"):
        asked = Request(words)
        if asked.host.endswith(":9001"):
            # What it is told to break off can't be read to its end.
            with running({}) as simulator, contextlib.suppress(http.client.IncompleteRead):
                answer = asked.send(Gateway(None, int(simulator.url.rpartition(":")[2])))  # type: ignore[arg-type]
                assert answer.status == 200
            continue
        assert asked.host in ("127.0.0.1:8080", "localhost:8080")
        is_demo = '"support"' in asked.data and "gatehouse-demo" in asked.headers["authorization"]
        answer = asked.send(request.getfixturevalue("demo" if is_demo else "gateway"))
        if (expected := EXPECTED.get(str(block))) is not None:
            assert json.loads(answer.body) == json.loads(expected)
        else:
            assert answer.status < 300, answer.body


def file_above(block: Block) -> str:
    """The whole YAML file that stands last before a block of the page."""
    found = [each for each in blocks(block.page) if each.language == "yaml" and each.line < block.line]
    return next(each.text for each in reversed(found) if each.text.startswith("version: 1"))


def printed(arguments: list[str], yaml: str, folder: Path) -> str:
    (folder / "gatehouse.yaml").write_text(yaml)
    names = re.findall(r"\$\{(\w+)\}", yaml)
    run = CliRunner().invoke(app, arguments, env={name: f"value-of-{name}-{'x' * 32}" for name in names})
    return run.output


# Figures of long runs on public sets, files of other programs, and what tests elsewhere compare.
ELSEWHERE = {
    "150 intents from": "python -m bench",
    "search    recall": "python -m bench",
    "threshold  right hits": "python -m bench",
    "- model_id": "a file of the program llm",
    "bytes ──": "a picture",
    "adds to     kind": "tests/integration/test_plugins.py",
    "gatehouse.yaml:9:18": "tests/integration/test_plugins.py",
    "no target answered": "tests/integration/test_troubleshooting.py",
    "openai/o3: The provider": "tests/integration/test_troubleshooting.py",
}


def is_of_python(block: Block) -> bool:
    """Whether it is what the Python above it prints, which tests/contract/test_snippets.py compares."""
    return block.above is not None and block.above.language == "python"


TEXTS = [each for each in blocks_of("text") if not is_of_python(each)]
OUTPUTS = [each for each in TEXTS if not each.text.lstrip().startswith(tuple(ELSEWHERE))]


@pytest.mark.parametrize("block", OUTPUTS, ids=str)
def test_what_is_printed_is_that(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if block.text.startswith("ok: "):
        output = printed(["check"], file_above(block), tmp_path)
    elif block.text.startswith("gatehouse.yaml:"):
        output = printed(["check"], BROKEN.replace("${OPENAI_API_KEY}", "sk"), tmp_path)
    elif block.text.startswith(("1. ", "POST ")):
        command = [sys.executable, "-m", "gateway", "demo", "--check"]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True).stdout
        if block.text.startswith("POST "):
            assert steps_of(block.text) == steps_of(output[output.index("POST ") :].split("\n\n")[0])
            return
    else:
        output = printed(["plan", block.text.split()[0]], file_above(block), tmp_path)
    # The digest is that of the file with the values of its secrets.
    assert without_digests(block.text).strip() in without_digests(output)


def steps_of(waterfall: str) -> list[str]:
    """The names of the steps, with their indents: times and bars differ from run to run."""
    return re.findall(r"^( *\S+(?: \S+)*?) {2,}", waterfall, re.MULTILINE)


def without_digests(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{12}\b", "DIGEST", text)


def test_every_output_of_elsewhere_is_shown() -> None:
    assert [each for each in ELSEWHERE if not any(block.text.lstrip().startswith(each) for block in TEXTS)] == []


@pytest.mark.parametrize("block", blocks_of("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks_of("toml"), ids=str)
def test_toml_is_toml(block: Block) -> None:
    tomllib.loads(block.text)


@pytest.mark.parametrize("block", blocks_of("ini"), ids=str)
def test_units_of_systemd_call_commands_that_are_there(block: Block) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    for key in ("ExecStartPre", "ExecStart"):
        program, *arguments = unit["Service"][key].split()
        assert Path(program).name == "gatehouse"
        check_call(arguments)


@pytest.mark.parametrize("block", blocks_of("sql"), ids=str)
def test_sql_is_sql(block: Block) -> None:
    assert all(sqlglot.parse(statement) for statement in re.split(r"\n(?=SELECT)", block.text))


@pytest.mark.parametrize("block", blocks_of("js"), ids=str)
def test_javascript_is_javascript(block: Block, tmp_path: Path) -> None:
    for opening, closing in ("()", "[]", "{}"):
        assert block.text.count(opening) == block.text.count(closing)
    if (node := shutil.which("node")) is not None:
        path = tmp_path / "snippet.mjs"
        path.write_text(block.text)
        done = subprocess.run([node, "--check", path], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_pages_show_what_they_speak_of() -> None:
    assert len(PAGES) > 30
    assert len(CURLS) > 8
