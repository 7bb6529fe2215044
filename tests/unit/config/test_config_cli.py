import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
VALID = "version: 1\nproviders: {builtin: {kind: extractive}}\nmodels: {quote: {targets: [builtin/extractive]}}\n"


class Gatehouse(Protocol):
    """Runs the command in a folder with a `gatehouse.yaml`."""

    def __call__(
        self, *arguments: str, stdin: str = "", environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def gatehouse(tmp_path: Path) -> Gatehouse:
    def run(
        *arguments: str, stdin: str = "", environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **(environ or {})}
        return subprocess.run(
            [sys.executable, "-c", "from gateway.commands.cli import main; main()", *arguments],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=20,
        )

    (tmp_path / "gatehouse.yaml").write_text(VALID)
    return run


def test_check_says_what_there_is(gatehouse: Gatehouse) -> None:
    done = gatehouse("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: 1 provider, 1 model (gatehouse.yaml, ")


def test_check_tells_problems_on_stderr(gatehouse: Gatehouse, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("version: 2\nmodls: {}\n")
    for done in (gatehouse("check", "other.yaml"), gatehouse("check", environ={"GATEHOUSE_CONFIG": "other.yaml"})):
        assert (done.returncode, done.stdout) == (2, "")
        assert "other.yaml:1:10  version: " in done.stderr
        assert "did you mean models?" in done.stderr
        assert "\x1b" not in done.stderr


def test_config_commands(gatehouse: Gatehouse) -> None:
    assert "listen: 127.0.0.1:8080" in gatehouse("config", "show").stdout
    assert json.loads(gatehouse("config", "show", "--json").stdout)["version"] == 1
    assert json.loads(gatehouse("config", "schema").stdout)["title"] == "Gatehouse"


def test_plan(gatehouse: Gatehouse) -> None:
    assert "builtin/extractive" in gatehouse("plan", "quote").stdout
    assert json.loads(gatehouse("plan", "quote", "--json").stdout)["targets"][0]["kind"] == "extractive"
    done = gatehouse("plan", "qote")
    assert (done.returncode, done.stderr) == (2, 'there is no model "qote"; did you mean quote?\n')


def test_a_name_in_an_error_steers_no_terminal(gatehouse: Gatehouse, tmp_path: Path) -> None:
    (tmp_path / "gatehouse.yaml").write_text(VALID.replace("quote:", '"a\\e]0;owned\\a": '))
    done = gatehouse("plan", "nosuch")
    assert (done.returncode, done.stderr) == (2, 'there is no model "nosuch"; use one of: a\\u001b]0;owned\\u0007\n')


@pytest.mark.parametrize("command", [("plan", "模型"), ("config", "show")])
def test_a_name_that_the_terminals_encoding_lacks_is_written_out(
    gatehouse: Gatehouse, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "gatehouse.yaml").write_text(VALID.replace("quote", "模型"), encoding="utf-8")
    done = gatehouse(*command, environ={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u6a21\\u578b" in done.stdout


def test_keys_hash(gatehouse: Gatehouse) -> None:
    done = gatehouse("keys", "hash", stdin="test\n")
    assert done.stdout == "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"
    assert gatehouse("keys", "hash").returncode == 2


def test_light_commands_import_no_server(gatehouse: Gatehouse, tmp_path: Path) -> None:
    code = (
        "import sys; import gateway.commands.cli; before = 'config' in sys.modules; import config; "
        "heavy = ('fastapi', 'aiohttp', 'uvicorn', 'opentelemetry', 'gateway.process.app'); "
        "print(before, [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout == "False []\n"


@pytest.mark.report("config", "A misspelled GATEHOUSE_ variable, command or option gets a suggestion")
def test_misspelt_names_are_told(gatehouse: Gatehouse, tmp_path: Path) -> None:
    odd = {"GATEHOUSE_VENVV": "x", "GATEHOUSE_CONFG": "y", "GATEHOUSE_PEPPER": "z", "GATEHOUSE_WORKER": "0"}
    done = gatehouse("check", environ=odd)
    assert done.returncode == 0
    told = done.stderr.splitlines()
    assert told[0] == (
        "gatehouse: the environment variable GATEHOUSE_CONFG is not used; did you mean GATEHOUSE_CONFIG?"
    )
    assert "GATEHOUSE_PEPPER is not used; Gatehouse reads" in told[1]
    assert "did you mean GATEHOUSE_VENV?" in told[2]
    assert len(told) == 3
    # What the YAML names is read.
    (tmp_path / "gatehouse.yaml").write_text(VALID + 'server: {pepper: "${GATEHOUSE_PEPPER}"}\n')
    assert gatehouse("check", environ={"GATEHOUSE_PEPPER": "x" * 32}).stderr == ""
    assert "Did you mean 'check'?" in gatehouse("chek").stderr
    assert "--listen" in gatehouse("serve", "--lsten", "x").stderr


def test_check_takes_its_file_as_other_commands_do(gatehouse: Gatehouse, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(VALID)
    for arguments in (
        ("check", "-c", "other.yaml"),
        ("check", "other.yaml"),
        ("config", "show", "--config", "other.yaml"),
    ):
        done = gatehouse(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    assert "(other.yaml, " in gatehouse("check", "--config", "other.yaml").stdout


def test_check_warns_and_ends_well(gatehouse: Gatehouse, tmp_path: Path) -> None:
    (tmp_path / "gatehouse.yaml").write_text(VALID + "prices: {builtin/extractiv: free}\n")
    done = gatehouse("check")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: gatehouse.yaml:4:10  prices.builtin/extractiv: ")
    assert "did you mean builtin/extractive?" in done.stderr
    assert done.stdout.endswith(", 1 warning\n")
