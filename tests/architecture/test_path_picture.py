"""The picture in docs/concepts/architecture.md is what its script draws from the code."""

from __future__ import annotations

import re

from deploy.path_picture import PICTURE, picture, steps
from tests.architecture.floors import ROOT

PAGE = ROOT / "docs/concepts/architecture.md"


def test_the_picture_is_drawn_from_the_code() -> None:
    assert PICTURE.read_text() == picture(), "run `python deploy/path_picture.py`"


def test_the_page_tells_every_step_in_its_order_with_files_that_are_there() -> None:
    page = PAGE.read_text()
    assert PICTURE.name in page
    told = re.findall(r"^\| \*\*(.+?)\*\* \|", page, re.MULTILINE)
    names = [step.name for step in steps()]
    assert told[told.index(names[0]) :][: len(names)] == names
    files = re.findall(r"`([\w/]+\.py)`", page)
    assert files
    assert not [file for file in files if not (ROOT / file).is_file()]
