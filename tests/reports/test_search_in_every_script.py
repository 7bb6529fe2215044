"""Public reports about searches that find nothing in texts without spaces, or with accents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reports.vendors import House, house

MORE = """server: {data: data}
sources: {notes: {kind: documents}}
apps: {one: {keys: [test-key], ingest: [notes]}}
"""
DOCUMENTS = {
    "zh": "这台打印机的保修期为两年。需要在三十天内登记。GPU显存为16GB。",
    "ja": "このポンプの保証期間は二年間です。修理は工場で行います。電車で行けます。ﾊﾟｿｺﾝも。",
    "ko": "이 프린터의 보증 기간은 2년입니다.",
    "th": "เครื่องพิมพ์นี้มีการรับประกันสองปี",
    "de": "Die Kündigungsfrist beträgt drei Monate. Müller ist zuständig.",
    "fr": "L'été, l'hôtel est fermé.",
    "ru": "Гарантия на насос составляет два года.",
    "ar": "مدة ضمان الطابعة سنتان.",
    "en": "The warranty of the printer is two years. A cafe is next door.",
}
QUESTIONS = [
    ("打印机保修多久", "zh"),
    ("保修期", "zh"),
    ("显存", "zh"),
    ("GPU", "zh"),
    ("ポンプの保証はいつまで", "ja"),
    ("修理", "ja"),
    ("車", "ja"),
    ("パソコン", "ja"),
    ("프린터", "ko"),
    ("보증", "ko"),
    ("รับประกัน", "th"),
    ("KÜNDIGUNGSFRIST", "de"),
    ("Kundigungsfrist", "de"),
    ("Muller", "de"),
    ("hotel", "fr"),
    ("hôtel", "fr"),
    ("ete", "fr"),
    ("гарантия насоса", "ru"),
    ("ضمان الطابعة", "ar"),
    ("warranty", "en"),
    ("café", "en"),
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("scripts"), models=MORE) as it:
        documents = [{"id": name, "text": text} for name, text in DOCUMENTS.items()]
        added = it.gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents})
        assert added.json()["added"] == len(documents)
        yield it


@pytest.mark.report("retrieval", "Search finds text in every script by its words")
@pytest.mark.parametrize(("question", "name"), QUESTIONS)
def test_words_of_every_script(filled: House, question: str, name: str) -> None:
    answer = filled.gateway.request("POST", "/v1/sources/notes/search", {"query": question, "top": 3})
    assert [each["document"] for each in answer.json()["data"]][:1] == [name]


@pytest.mark.report("retrieval", "A search without words, or for words that no document has, returns nothing")
@pytest.mark.parametrize("question", ["", "   ", "。、", "the of and", "冰箱"])
def test_nothing_is_found_by_no_words(filled: House, question: str) -> None:
    answer = filled.gateway.request("POST", "/v1/sources/notes/search", {"query": question, "top": 3})
    assert answer.status in (200, 400)
    assert not answer.json().get("data")
