"""The contract tests once more, with the vendors' SDKs of the major version before."""

from __future__ import annotations

from tests.beside import run_beside, run_tests_beside

VERSIONS = (
    "import openai, anthropic, google.genai as g; print(openai.__version__, anthropic.__version__, g.__version__)"
)


def test_the_sdks_of_the_major_version_before() -> None:
    versions = run_beside("previous-sdks", "-c", VERSIONS).split()
    assert [version.split(".")[0] for version in versions] == ["2", "1", "2"]
    run_tests_beside("previous-sdks", "tests/contract/sdks")
