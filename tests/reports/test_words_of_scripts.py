"""Public reports about texts that are not found: other forms of the same letters, scripts without spaces."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.tokens import estimate_tokens
from rag.chunkers import Chunking, cut
from rag.documents.reading import read
from rag.text_index import TextIndex
from rag.words import indexed_words
from tests.reports.files import said

FOUND = "Text in a script without spaces is found by its words, and its chunks stay within their size limit"
FORMS = "A query matches text in any Unicode form: composed, full-width, ligatures, soft hyphens"
# About a pump's warranty and a fridge's temperature, and a question of two words on the first.
TEXTS = {
    "Chinese": ("水泵的保修期为两年。", "冰箱的温度是四度。", "水泵保修"),
    "Japanese": ("ポンプの保証期間は二年です。", "冷蔵庫の温度は四度です。", "ポンプ 保証"),
    "Korean": ("펌프의 보증은 이년입니다.", "냉장고의 온도는 사도입니다.", "펌프 보증"),
    "Thai": ("ปั๊มน้ำมีการรับประกันสองปี", "ตู้เย็นมีอุณหภูมิสี่องศา", "รับประกันปั๊มน้ำ"),
    "Lao": ("ປໍ້ານໍ້າມີການຮັບປະກັນສອງປີ", "ຕູ້ເຢັນມີອຸນຫະພູມສີ່ອົງສາ", "ຮັບປະກັນ"),
    "Khmer": ("ម៉ាស៊ីនបូមទឹកមានការធានាពីរឆ្នាំ។", "ទូទឹកកកមានសីតុណ្ហភាពបួនដឺក្រេ។", "ការធានា"),
    "Burmese": ("ရေစုပ်စက်တွင်အာမခံနှစ်နှစ်ရှိသည်။", "ရေခဲသေတ္တာအပူချိန်လေးဒီဂရီရှိသည်။", "အာမခံ"),
    "Hindi": ("पंप की वारंटी दो साल की है।", "फ्रिज का तापमान चार डिग्री है।", "पंप वारंटी"),
    "Arabic": ("ضمان المضخة سنتان.", "درجة حرارة الثلاجة أربع.", "ضَمَان"),
    "Hebrew": ("האחריות על המשאבה היא שנתיים.", "הטמפרטורה במקרר היא ארבע.", "האחריות"),
}


def search(folder: Path, texts: list[str], question: str) -> list[int]:
    index = TextIndex(folder)
    for number, text in enumerate(texts):
        index.add(number, text, "")
    index.commit()
    found = [number for number, _ in index.search(question, None, 5)]
    index.close()
    return found


@pytest.mark.report("documents", FOUND)
@pytest.mark.parametrize("script", TEXTS)
def test_every_script_is_found_by_its_words(tmp_path: Path, script: str) -> None:
    about, other, question = TEXTS[script]
    assert search(tmp_path, [other, about], question)[0] == 1
    assert search(tmp_path / "b", [other, about * 30 + other * 30], question)[0] == 1


@pytest.mark.report("documents", FOUND)
@pytest.mark.parametrize("script", TEXTS)
@pytest.mark.parametrize(("by", "size"), [("structure", 200), ("sentences", 100), ("tokens", 60)])
def test_chunks_of_every_script_stay_within_their_bound(script: str, by: str, size: int) -> None:
    about = TEXTS[script][0].replace(" ", "") * 80
    text, blocks = read("a.txt", about.encode())
    chunks = cut(text, blocks, Chunking(by, size))  # type: ignore[arg-type]
    assert "".join(chunk.text for chunk in chunks) == text
    assert all((estimate_tokens(each.text) if by == "tokens" else len(each.text)) <= size for each in chunks)
    # Neither tiny pieces, nor any that begins in the middle of a letter.
    assert len(chunks) <= 4 * max(1, (estimate_tokens(text) if by == "tokens" else len(text)) // size)
    assert not any(unicodedata.category(each.text[0]).startswith("M") for each in chunks)


@pytest.mark.report("documents", FOUND)
def test_a_single_chinese_letter_is_found(tmp_path: Path) -> None:
    assert search(tmp_path, ["冰箱", "水泵的保修"], "水") == [1]


@pytest.mark.report("documents", FORMS)
@pytest.mark.parametrize(
    ("written", "question"),
    [
        (unicodedata.normalize("NFD", "Überprüfung der Größe"), "Überprüfung"),
        ("Überprüfung", unicodedata.normalize("NFD", "Überprüfung")),
        ("ware\u00adhouse", "warehouse"), ("the \ufb01nal \ufb02oor", "final"),
        ("\uff30\uff35\uff2d\uff30\u3000\uff11\uff12", "pump 12"),
        ("two\u00a0years", "years"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"),
        ("\ufee3\ufec0\ufea8\ufe94", "مضخة"), ("ﾎﾟﾝﾌﾟ", "ポンプ"),
        ("word\u2060joined", "wordjoined"), ("pump\ufeffs", "pumps"), ("ab\u200bcd", "ab"),
    ],
)  # fmt: skip
def test_forms_of_letters(tmp_path: Path, written: str, question: str) -> None:
    assert search(tmp_path, ["zebra", read("a.txt", written.encode())[0]], question) == [1]


@pytest.mark.report("documents", FORMS)
def test_texts_are_kept_composed_and_without_what_nobody_sees() -> None:
    for name in ("a.txt", "a.md", "a.html", "a.csv"):
        assert said(name, "cafe\u0301 o\ufb03ce ware\u00adhouse".encode()) == ["café office warehouse"]


@pytest.mark.report("documents", "A word with a hyphen at the end of a line is joined when a text file is read")
def test_words_cut_at_the_end_of_a_line() -> None:
    text = "The warran-\nty is well-\nknown, a well-known one.\nfour-\nteen\nx-\ny Smith-\nJones"
    assert read("a.txt", text.encode())[0].split("\n") == [
        "The warranty", "is well-known,", "a well-known one.", "four-", "teen", "x-", "y Smith-", "Jones",
    ]  # fmt: skip


@given(st.text(st.sampled_from("a水ポงั้\u0301\u200dकि펌 .。"), max_size=60))
def test_a_text_is_found_by_each_of_its_parts(text: str) -> None:
    words = indexed_words(text)
    assert all(word and not word.isspace() for word in words)
    assert set(indexed_words(text, is_query=True)) <= set(words)
    assert indexed_words(unicodedata.normalize("NFD", text)) == words
