"""The launcher `./gatehouse`: an environment is used once it is whole, and none is removed while something runs in it.

The script is the real one. A stand-in for uv makes environments without packages, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beside import place_of

ROOT = Path(__file__).resolve().parents[2]
# `uv venv` and `uv pip install`; it notes each call, and refuses what `refused` names.
UV = f"""\
#!/usr/bin/env bash
set -eu
echo "$*" >>"$NOTES/calls"
for each in "$@"; do last="$each"; done
[ ! -f "$NOTES/refused" ] || ! grep -qf "$NOTES/refused" <<<"$*" || exit 1
case "$1 $2" in
venv*) "{sys.executable}" -m venv --without-pip "$last" ;;
"pip install")
    all="$*" target="${{all#*--target }}"
    [ "$target" = "$all" ] || mkdir -p "${{target%% *}}"
    ;;
esac
"""
GATEWAY = "import sys\nprint(sys.prefix, flush=True)\nsys.stdin.read()\n"
PYTEST = "import sys\nprint('tests run:', *sys.argv[1:])\n"
BESIDE = ("presidio", "previous-sdks", "sentence-transformers", "sentence-transformers-torch")


class Checkout:
    """A folder with the launcher, empty locks, and packages that say where they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environments = folder / ".venv.d"
        self.notes = folder / "notes"
        for each in ("gateway", "bin", "notes"):
            (folder / each).mkdir()
        shutil.copy(ROOT / "gatehouse", folder)
        (folder / "gateway" / "__main__.py").write_text(GATEWAY)
        (folder / "pytest.py").write_text(PYTEST)
        (folder / "bin" / "uv").write_text(UV)
        (folder / "bin" / "uv").chmod(0o755)
        self.lock("0")
        for name in (*BESIDE, "sentence-transformers-torch-cpu"):
            (folder / f"requirements-{name}.lock").write_text(f"# {name}\n")

    def lock(self, text: str) -> None:
        (self.folder / "requirements.lock").write_text(f"# {text}\n")

    def refuse(self, pattern: str) -> None:
        """What the installer is to fail at: a basic regular expression of its arguments."""
        (self.notes / "refused").write_text(f"{pattern}\n")

    def start(self, *arguments: str, ci: str = "") -> subprocess.Popen[str]:
        # Without what the launcher that runs these tests has exported: its packages would hide those of the folder.
        own = {name for name in os.environ if name.startswith("GATEHOUSE_")} | {"PYTHONPATH"}
        environ = {name: value for name, value in os.environ.items() if name not in own}
        environ |= {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "NOTES": str(self.notes), "CI": ci}
        command = [str(self.folder / "gatehouse"), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, ci: str = "") -> tuple[int, str, str]:
        """Exit code, output, errors."""
        process = self.start(*arguments, ci=ci)
        output, errors = process.communicate("", timeout=60)
        return process.returncode, output, errors

    def calls(self) -> list[str]:
        return (self.notes / "calls").read_text().splitlines()

    def whole(self) -> set[Path]:
        return {mark.parent for mark in self.environments.glob("*/.whole")}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def running(checkout: Checkout) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that runs in the environment of the first lock, and that environment."""
    process = checkout.start("serve")
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.communicate("", timeout=30)


def test_an_environment_that_something_runs_in_is_not_removed(
    checkout: Checkout, running: tuple[subprocess.Popen[str], Path]
) -> None:
    process, used = running
    assert used in checkout.whole()
    for lock in "123":
        checkout.lock(lock)
        assert checkout.run("check")[0] == 0
    # Of those that nothing runs in, the last two stay.
    assert used in checkout.whole()
    assert len(checkout.whole()) == 3
    process.communicate("", timeout=30)
    checkout.lock("4")
    assert checkout.run("check")[0] == 0
    assert used not in checkout.whole()
    assert len(checkout.whole()) == 2
    assert not used.exists()


def test_an_environment_in_use_is_not_emptied_when_its_python_is_gone(
    checkout: Checkout, running: tuple[subprocess.Popen[str], Path]
) -> None:
    process, used = running
    (used / "bin" / "python").unlink()
    code, _, errors = checkout.run("check")
    assert code == 1
    assert "Stop that gateway or test" in errors
    assert (used / "pyvenv.cfg").exists()
    process.communicate("", timeout=30)
    assert checkout.run("check")[0] == 0
    assert (used / "bin" / "python").exists()


def test_of_two_set_ups_at_once_one_builds(checkout: Checkout) -> None:
    both = [checkout.start("check") for _ in range(2)]
    outputs = [process.communicate("", timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(set(outputs)) == 1
    assert len([call for call in checkout.calls() if call.startswith("venv ")]) == 1


def test_what_could_not_be_installed_is_not_used(checkout: Checkout) -> None:
    checkout.refuse("pip install")
    code, output, errors = checkout.run("check")
    assert (code, output) == (1, "")
    assert "the packages could not be installed" in errors
    assert list(checkout.environments.glob("*/")) == []
    (checkout.notes / "refused").unlink()
    assert checkout.run("check")[0] == 0


def test_an_interrupted_set_up_is_done_again(checkout: Checkout) -> None:
    assert checkout.run("check")[0] == 0
    (left,) = checkout.whole()
    (left / ".whole").unlink()
    (left / "half").touch()
    assert checkout.run("check")[0] == 0
    assert checkout.whole() == {left}
    assert not (left / "half").exists()


def test_packages_of_some_tests_are_beside_the_environment(checkout: Checkout) -> None:
    code, output, _ = checkout.run("test", "-x", ci="true")
    assert code == 0
    assert output.startswith("tests run: ")
    (environment,) = checkout.whole()
    assert {path.name[:-17] for path in environment.glob("*-????????????????")} == set(BESIDE) - {BESIDE[-1]}
    assert not (environment / ".part").exists()
    before = len(checkout.calls())
    assert checkout.run("test", ci="true")[0] == 0
    assert len(checkout.calls()) == before
    # Another lock has another folder, and the one before goes.
    (checkout.folder / "requirements-presidio.lock").write_text("# another\n")
    (old,) = environment.glob("presidio-*")
    assert checkout.run("test", ci="true")[0] == 0
    (new,) = environment.glob("presidio-*")
    assert new != old


def test_the_quick_tests_need_no_further_packages(checkout: Checkout) -> None:
    assert checkout.run("test", "--quick")[0] == 0
    assert not [call for call in checkout.calls() if "--target" in call]


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_package_that_is_not_to_be_had_is_left_out_on_a_laptop_and_fails_in_ci(
    checkout: Checkout, ci: str, code: int
) -> None:
    checkout.refuse("requirements-presidio.lock")
    ended, output, errors = checkout.run("test", ci=ci)
    assert ended == code
    assert ("tests run: " in output) == (code == 0)
    assert "could not be installed" in errors
    (environment,) = checkout.whole()
    assert not list(environment.glob("presidio-*"))


@pytest.mark.parametrize(("ci", "installed"), [("", False), ("true", True)])
def test_only_ci_takes_torch_with_cuda_unasked(checkout: Checkout, ci: str, installed: bool) -> None:
    checkout.refuse("torch-cpu.lock")
    code, _, errors = checkout.run("test", ci=ci)
    assert code == 0
    assert any("torch.lock" in call for call in checkout.calls()) == installed
    (environment,) = checkout.whole()
    assert bool(list(environment.glob("sentence-transformers-*"))) == installed
    assert ("run: CI=true ./gatehouse test" in errors) == (not installed)


def test_the_tests_look_where_the_launcher_installs() -> None:
    places = f"environment={sys.prefix}; here={ROOT}"
    script = f'{places}; eval "$(sed -n "/^place_of/,/^}}/p" "$here/gatehouse")"; place_of sentence-transformers'
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(place_of("sentence-transformers"))
