"""Public reports about files in the encodings from before Unicode."""

from __future__ import annotations

import pytest

from rag.documents.reading import UnreadableFile, read_document
from rag.encodings import decode

GUESSED = "Text that is not UTF-8 is read in its most likely encoding, and the report names that encoding"
SAID = "The encoding that a page, its XML or its server declares is used if the bytes are valid in it"
TEXTS = {
    "German": ("Die Größe des Gefäßes für Öl beträgt fünf Liter.", "cp1252 iso8859_15 mac_roman cp850"),
    "French": ("Le garçon a été reçu à l’école près de la forêt.", "cp1252 mac_roman"),
    "Spanish": ("¿Cuánto dura la garantía? Dos años según el artículo.", "cp1252 mac_roman"),
    "Polish": ("Zażółć gęślą jaźń, proszę sprawdzić umowę i płatność.", "cp1250 iso8859_2 cp852"),
    "Czech": ("Příliš žluťoučký kůň úpěl ďábelské ódy.", "cp1250 iso8859_2"),
    "Hungarian": ("Árvíztűrő tükörfúrógép, köszönöm szépen a választ.", "cp1250 iso8859_2"),
    "Russian": ("Гарантия на насос составляет два года.",
                "cp1251 koi8_r iso8859_5 cp866 mac_cyrillic utf-16-le utf-16-be utf-16"),
    "Ukrainian": ("Гарантія на насос становить два роки, її можна продовжити.", "cp1251 koi8_u"),
    "Greek": ("Η εγγύηση της αντλίας είναι δύο χρόνια.", "cp1253 iso8859_7"),
    "Turkish": ("Pompanın garantisi iki yıldır, değiştirilmesi için başvurunuz.", "cp1254 iso8859_9"),
    "Hebrew": ("האחריות על המשאבה היא שנתיים", "cp1255 iso8859_8"),
    "Arabic": ("ضمان المضخة سنتان من تاريخ التسليم", "cp1256 iso8859_6"),
    "Thai": ("ปั๊มน้ำมีการรับประกันสองปี", "cp874 utf-16-le"),
    "Lithuanian": ("Siurblio garantija galioja dvejus metus, kreipkitės į pardavėją čia.", "cp1257 iso8859_13"),
    "Japanese": ("ポンプの保証期間は二年です。修理は無料です。", "cp932 euc_jp iso2022_jp utf-16-le utf-16-be"),
    "Chinese": ("水泵的保修期为两年，请联系我们的客服。", "gb18030 utf-16-le utf-16-be"),
    "Taiwanese": ("水泵的保固期為兩年，請聯絡我們的客服。", "cp950 utf-16-be"),
    "Korean": ("펌프의 보증 기간은 이년입니다. 연락 주세요.", "cp949 utf-16-le utf-16-be"),
}  # fmt: skip


@pytest.mark.report("documents", GUESSED)
@pytest.mark.parametrize("language", TEXTS)
def test_encodings_are_guessed_by_their_letters(language: str) -> None:
    text, encodings = TEXTS[language]
    for encoding in encodings.split():
        written = text.replace("’", "'") if encoding == "mac_roman" else text
        for name in ("a.txt", "a.csv", "a.html"):
            # What a sheet's commas part, and nothing else, is written otherwise.
            found = read_document(name, written.encode(encoding))
            assert found.text.replace("; ", ", ").replace("，", ",") == written.replace("，", ","), (encoding, name)
            if encoding not in {"iso2022_jp", "utf-16"} and not encoding.startswith("utf"):
                assert "its encoding is guessed" in found.notes[0]


@pytest.mark.report("documents", GUESSED)
@pytest.mark.parametrize(
    ("data", "text", "note"),
    [
        ("“Hello” – he said: 5 €, 10 °C".encode("cp1252"), "“Hello” – he said: 5 €, 10 °C",
         "its encoding is guessed: Windows-1252"),
        (b"caf\xe9", "café", "its encoding is guessed: Windows-1252"),
        ("Гарантия на насос".encode("koi8_r"), "Гарантия на насос", "its encoding is guessed: KOI8-R"),
        ("Größe, Straße\n".encode() + "für Öl\n".encode("cp1252"), "Größe, Straße\nfür Öl\n",
         "1 lines are not UTF-8; their encoding is guessed: Windows-1252"),
        ("Größe, Maß ".encode() + b"\xff", "Größe, Maß \ufffd", "1 characters are not valid UTF-8 and are lost"),
        (b"plain", "plain", ""), ("Größe".encode(), "Größe", ""), ("Größe".encode("utf-16"), "Größe", ""),
    ],
)  # fmt: skip
def test_what_is_said_of_an_encoding(data: bytes, text: str, note: str) -> None:
    found = decode(data)
    assert (found.text.removeprefix("\ufeff"), found.note) == (text, note)


@pytest.mark.report("documents", SAID)
@pytest.mark.parametrize(
    ("page", "media_type", "encoding"),
    [
        ('<meta charset="iso-8859-2"><p>ą', "", "iso8859_2"),
        ("<meta http-equiv=content-type content='text/html; charset=windows-1251'><p>ж", "", "cp1251"),
        ("<?xml version='1.0' encoding='KOI8-R'?><html><p>ж</html>", "", "koi8_r"),
        ("<p>ж", "text/html; charset=KOI8-R", "koi8_r"),
        ('<meta charset="windows-1251"><p>ж', 'text/html; charset="iso-8859-5"', "iso8859_5"),
        ("<meta charset=gb2312><p>保", "", "gb18030"), ("<meta charset=shift_jis><p>保", "", "cp932"),
        ("<meta charset=utf-8><p>Größe", "", "cp1252"), ("<meta charset=iso-8859-1><p>Größe", "", "utf-8"),
        ("<meta charset=unicode_escape><p>Größe", "", "cp1252"), ("<meta charset=no-such><p>Größe", "", "cp1252"),
    ],
)  # fmt: skip
def test_named_encodings(page: str, media_type: str, encoding: str) -> None:
    found = read_document("a.html" if not media_type else "page", page.encode(encoding), media_type)
    assert found.text == page.rpartition("<p>")[2].removesuffix("</html>")


@pytest.mark.report("documents", "Binary data is an error, even in a file with a text extension")
def test_bytes_that_are_no_text() -> None:
    for name in ("a.txt", "a.md", "a.csv", "a.html"):
        with pytest.raises(UnreadableFile, match="binary data, not text"):
            read_document(name, bytes(range(1, 32)) * 50)
    assert read_document("a.txt", b"ab\x00cd and so on").text == "abcd and so on"
