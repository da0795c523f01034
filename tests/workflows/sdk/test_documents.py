"""Documents of people as text: every kind, every encoding, and those that are made to hurt."""

import io
import json
import time
import zipfile
from typing import Any
from xml.sax.saxutils import escape

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

from roost.documents import reader
from roost.documents.formats import PAGES_MAX, UNPACKED_BYTES_MAX
from roost.documents.pictures import data_url, picture_type
from roost.documents.reader import FILE_BYTES_MAX, TEXT_CHARS_MAX, Reading, read_document


def pdf(*pages: str, operators: str = "") -> bytes:
    """A PDF whose pages say these words in Helvetica."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, words in enumerate(pages):
        shown = f"BT /F1 12 Tf 72 700 Td ({words}) Tj ET {operators}"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream",
        ]
    out, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    out += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return f"{out}startxref\n{out.index('xref')}\n%%EOF".encode("latin-1")


def encrypted(document: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(document)))
    writer.encrypt(password, "owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def marked(document: bytes, *marks: dict[str, str]) -> bytes:
    """The PDF with these annotations on its first page; values with a slash are names."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(document)))
    added = ArrayObject()
    for mark in marks:
        values: dict[Any, Any] = {
            NameObject(key): (NameObject if value.startswith("/") else TextStringObject)(value)
            for key, value in mark.items()
        }
        if "/URI" in values:
            values[NameObject("/A")] = DictionaryObject(values)
        added.append(writer._add_object(DictionaryObject(values)))
    writer.pages[0][NameObject("/Annots")] = added
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def paragraph(words: str) -> str:
    return f"<w:p><w:r><w:t>{words}</w:t></w:r></w:p>"


def docx(*paragraphs: str, more: dict[str, bytes] | None = None, body: str = "") -> bytes:
    body = body or "".join(paragraph(escape(one)) for one in paragraphs)
    names = "http://schemas.openxmlformats.org"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{names}/package/2006/content-types"/>',
        "_rels/.rels": (
            f'<Relationships xmlns="{names}/package/2006/relationships"><Relationship Id="r" '
            f'Type="{names}/officeDocument/2006/relationships/officeDocument" '
            'Target="word/document.xml"/></Relationships>'
        ),
        "word/document.xml": (
            f'<w:document xmlns:w="{names}/wordprocessingml/2006/main" '
            f'xmlns:m="{names}/officeDocument/2006/math"><w:body>{body}</w:body>'
            "</w:document>"
        ),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    return out.getvalue()


async def test_a_pdf_is_read_page_by_page() -> None:
    reading = await read_document(pdf("First words", "Second words"))
    assert reading == Reading("First words\n\nSecond words", pages=2)


async def test_a_word_file_is_read_paragraph_by_paragraph() -> None:
    reading = await read_document(docx("Straße & <b>", "漢字"))
    assert reading.text == "Straße & <b>\n\n漢字" and not reading.problem


RAISED, LOWERED = (f'<w:vertAlign w:val="{place}script"/>' for place in ("super", "sub"))


def run(words: str, look: str = "") -> str:
    return f'<w:r><w:rPr>{look}</w:rPr><w:t xml:space="preserve">{words}</w:t></w:r>'


def maths(**parts: str) -> str:
    return "".join(f"<m:{name}>{part}</m:{name}>" for name, part in parts.items())


def term(words: str) -> str:
    return maths(r=maths(t=words))


FORMULA = maths(
    oMath=maths(sSup=maths(e=term("x"), sup=term("2")))
    + term("=")
    + maths(f=maths(num=term("a+b"), den=term("2")))
    + term("+")
    + maths(rad=maths(e=term("y")))
    + term("+")
    + maths(
        nary='<m:naryPr><m:chr m:val="∑"/></m:naryPr>'
        + maths(sub=term("i=1"), sup=term("n"), e=term("i"))
    )
)
ROW = "<w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr>"
LINKS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="h" Target="https://x.example/a_b" TargetMode="External" Type="http://schemas'
    '.openxmlformats.org/officeDocument/2006/relationships/hyperlink"/></Relationships>'
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<w:p><w:r><w:t>Road 1</w:t><w:br/><w:t>Bonn</w:t></w:r></w:p>", "Road 1\nBonn"),
        (
            "<w:tbl>"
            + ROW.format(paragraph("a"), paragraph("b") + paragraph("c"))
            + ROW.format(paragraph("d"), "<w:p/>")
            + "</w:tbl>"
            + paragraph("after"),
            "a | b c\nd |\n\nafter",
        ),
        (
            "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
            "<w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>",
            "new",
        ),
        (
            '<w:p><w:hyperlink xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/'
            'relationships" r:id="h"><w:r><w:t>here</w:t></w:r></w:hyperlink></w:p>',
            "here (https://x.example/a_b)",
        ),
        (
            run("Pay ") + run("100", "<w:strike/>") + run(" 200") + run("st", RAISED),
            "Pay ~~100~~ 200st",
        ),
        (run("10") + run("-6", RAISED) + run(" H") + run("2", LOWERED), "10⁻⁶ H₂"),
        (
            '<w:sdt xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"><w:sdtPr>'
            '<w14:checkbox><w14:checked w14:val="0"/></w14:checkbox></w:sdtPr><w:sdtContent>'
            f"{run('☐')}</w:sdtContent></w:sdt>{run(' I agree')}",
            "[ ] I agree",
        ),
        (f'<w:fldSimple w:instr="DATE">{run("1 May")}</w:fldSimple>', "1 May"),
        (f"{run('so ')}<m:oMathPara>{FORMULA}</m:oMathPara>", "so x^2=(a+b)/2+√(y)+∑_(i=1)^n i"),
    ],
)
async def test_what_shapes_the_words_of_a_word_file_is_kept(body: str, text: str) -> None:
    more = {"word/_rels/document.xml.rels": LINKS.encode()}
    body = body if body.startswith(("<w:p>", "<w:tbl>")) else f"<w:p>{body}</w:p>"
    reading = await read_document(docx(body=body, more=more))
    assert "\n".join(line.rstrip() for line in reading.text.split("\n")) == text


async def test_headers_and_footers_of_a_word_file_are_read_once_each() -> None:
    names = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    shown = {
        "footer1": paragraph("1"),
        "footer2": paragraph("IBAN DE12"),
        "header1": paragraph("Acme") + paragraph("Bonn"),
        "header2": paragraph("Acme") + paragraph("Bonn"),
    }
    more = {f"word/{name}.xml": f"<w:x {names}>{b}</w:x>".encode() for name, b in shown.items()}
    reading = await read_document(docx("Dear Ada", more={**more, "word/header3.xml": b"<w"}))
    assert reading.text == "Dear Ada\n\n[header: Acme; Bonn]\n[footer: IBAN DE12]"


HEBREW = "שלום, אני שולח לך את רשימת הקניות למחר: לחם, חלב וגבינה."


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a": [1, 2]}', '{"a": [1, 2]}'),
        ("größe;wert\r\n1;2\r\n".encode(), "größe;wert\n1;2\n"),
        ("\ufeffwith a mark".encode(), "with a mark"),
        ("größe".encode("cp1252"), "größe"),
        ("Привет, как дела? Я тут.".encode("cp1251"), "Привет, как дела? Я тут."),
        ("Привет, как дела? Я тут.".encode("koi8-r"), "Привет, как дела? Я тут."),
        ("Де він? Її ще немає.".encode("cp1251"), "Де він? Її ще немає."),
        ("Καλημέρα, τι κάνεις σήμερα;".encode("cp1253"), "Καλημέρα, τι κάνεις σήμερα;"),
        ("déjà vu à côté".encode("cp1252"), "déjà vu à côté"),
        ("Список покупок: хлеб и сыр.".encode("cp866"), "Список покупок: хлеб и сыр."),
        ("Zażółć gęślą jaźń, proszę.".encode("cp1250"), "Zażółć gęślą jaźń, proszę."),
        (HEBREW.encode("cp1255"), HEBREW),
        ("مرحبا، أرسل لك القائمة".encode("cp1256"), "مرحبا، أرسل لك القائمة"),
        ("สวัสดีครับ ผมส่งรายการมาให้".encode("cp874"), "สวัสดีครับ ผมส่งรายการมาให้"),
        ("これはテストです。".encode("shift_jis"), "これはテストです。"),
        ("明日の資料を送ります。".encode("euc_jp"), "明日の資料を送ります。"),
        ("明日の資料を送ります。".encode("iso2022_jp"), "明日の資料を送ります。"),
        ("明天开会的资料，请查收。".encode("gbk"), "明天开会的资料，请查收。"),  # noqa: RUF001
        ("這是明天會議的資料。".encode("big5"), "這是明天會議的資料。"),
        (
            "안녕하세요. 내일 회의 자료를 보냅니다.".encode("cp949"),
            "안녕하세요. 내일 회의 자료를 보냅니다.",
        ),
        (("山田,東京\n" * 40_000).encode("cp932"), "山田,東京\n" * 40_000),
        (b"\x1b[31mred\x1b[0m and plain", "red and plain"),
        ("привет, мир".encode("utf-16"), "привет, мир"),
        ("plain words in two bytes".encode("utf-16-le"), "plain words in two bytes"),
        ("plain words in two bytes".encode("utf-16-be"), "plain words in two bytes"),
        ("in four bytes".encode("utf-32"), "in four bytes"),
        (b"x = 1\n" * 50 + b"\x00", "x = 1\n" * 50),
        (b"<svg><text>drawn</text></svg>", "<svg><text>drawn</text></svg>"),
        (b"A PDF begins with %PDF-1.7.", "A PDF begins with %PDF-1.7."),
    ],
)
async def test_a_text_file_is_read_in_its_encoding(data: bytes, text: str) -> None:
    assert (await read_document(data)).text == text


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (encrypted(pdf("secret words"), "key"), "encrypted"),
        (pdf(""), "no_text"),
        (b"%PDF-1.7 and then nothing of it", "broken"),
        (pdf("cut off")[:150], "broken"),
        (b"PK\x03\x04 no archive", "broken"),
        (docx(""), "no_text"),
        (docx("x")[:-40], "broken"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "old_word"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "encrypted",
        ),
        (bytes(range(256)) * 40, "not_text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "not_text"),
        (b"\xff\x81\xfe\x98\xff\x8d\xff\x90\xfe\x9d" * 9, "encoding"),
        (b"\x7fELF" + b"\x01\x02\x00\x00" * 4000, "not_text"),
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"x" * (FILE_BYTES_MAX + 1), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_can_not_be_read_says_why(data: bytes, problem: str) -> None:
    reading = await read_document(data)
    assert (reading.text, reading.problem) == ("", problem)
    assert reading.reason


async def test_an_archive_without_a_document_is_no_text() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "words")
    assert (await read_document(out.getvalue())).problem == "not_text"


async def test_a_pdf_that_opens_without_a_password_is_read() -> None:
    assert (await read_document(encrypted(pdf("open words"), ""))).text == "open words"


async def test_a_word_file_whose_text_has_a_numbered_place_is_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx("words"))) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name).replace(b"word/document.xml", b"word/document2.xml")
            new.writestr(name.replace("document.xml", "document2.xml"), content)
    assert (await read_document(out.getvalue())).text == "words"


async def test_what_was_filled_in_and_noted_on_a_pdf_is_read() -> None:
    form = marked(
        pdf("Order form, see https://x.example/terms"),
        {"/Subtype": "/Widget", "/FT": "/Tx", "/T": "name", "/V": "Ada  Lovelace"},
        {"/Subtype": "/Widget", "/FT": "/Tx", "/T": "empty", "/V": ""},
        {"/Subtype": "/Widget", "/FT": "/Btn", "/T": "gift", "/AS": "/Yes"},
        {"/Subtype": "/Widget", "/FT": "/Btn", "/T": "express", "/AS": "/Off"},
        {"/Subtype": "/FreeText", "/Contents": "deliver after six"},
        {"/Subtype": "/Highlight", "/Contents": "is that right?"},
        {"/Subtype": "/Link", "/URI": "https://x.example/here"},
        {"/Subtype": "/Link", "/URI": "https://x.example/terms"},
        {"/Subtype": "/Popup", "/Contents": "is that right?"},
    )
    assert (await read_document(form)).text.split("\n") == [
        *("Order form, see https://x.example/terms", "", "name: Ada Lovelace", "[x] gift"),
        *("[ ] express", "deliver after six", "[comment: is that right?]"),
        "[link: https://x.example/here]",
    ]


async def test_marks_that_are_broken_leave_the_words_of_the_page() -> None:
    for mark in ({"/Subtype": "Widget"}, {"/Subtype": "/Widget", "/Parent": "up", "/V": "x"}, {}):
        assert (await read_document(marked(pdf("words"), mark))).text == "words"


async def test_an_archive_that_grows_beyond_the_bound_is_not_unpacked() -> None:
    bomb = docx("x", more={"word/media/a.bin": b"\x00" * (UNPACKED_BYTES_MAX + 1)})
    assert len(bomb) < 200_000
    began = time.monotonic()
    assert (await read_document(bomb)).problem == "too_large"
    assert time.monotonic() - began < reader.READ_S


async def test_xml_that_multiplies_itself_ends_without_a_text() -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    laughs = f'<!DOCTYPE d [<!ENTITY e0 "lol">{levels}]><w:document>&e11;</w:document>'
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx("x"))) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, laughs if name == "word/document.xml" else old.read(name))
    reading = await read_document(out.getvalue())
    assert reading.text == "" and reading.problem in ("broken", "too_large")


async def test_a_document_that_takes_too_long_keeps_what_was_read() -> None:
    slow = "BT /F1 12 Tf " + "(a) Tj 0 -1 Td " * 400_000 + "ET"
    began = time.monotonic()
    reading = await read_document(pdf("fast words", "slow", operators=slow), seconds=3.0)
    assert reading.problem in ("", "too_slow") and time.monotonic() - began < 20
    assert not reading.text or reading.is_cut or reading.pages == 2


async def test_a_process_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.dumps({"text": "first page", "pages": 2})
    for program, reading in (
        ("import time; time.sleep(600)", Reading(problem="too_slow")),
        (
            f"import time; print({said!r}, flush=True); time.sleep(600)",
            Reading("first page", pages=2, is_cut=True),
        ),
        ("import os; os._exit(3)", Reading(problem="broken")),
        ("print('no json')", Reading(problem="broken")),
    ):
        monkeypatch.setattr(reader, "_PROGRAM", program)
        assert await read_document(b"x", seconds=2.0) == reading


async def test_long_documents_are_cut_at_the_bounds() -> None:
    reading = await read_document(b"word " * TEXT_CHARS_MAX)
    assert len(reading.text) == TEXT_CHARS_MAX and reading.is_cut
    many = await read_document(pdf(*["p"] * (PAGES_MAX + 5)))
    assert many.pages == PAGES_MAX + 5 and many.is_cut
    assert many.text.count("p") == PAGES_MAX


async def test_the_process_knows_no_secret_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_ENGINE__API_KEY", "canary")
    program = (
        "import json, os; print(json.dumps({'text': str(dict(os.environ)), 'pages': 0}));"
        "print(json.dumps({'end': ''}))"
    )
    monkeypatch.setattr(reader, "_PROGRAM", program)
    reading = await read_document(b"x")
    assert "PATH" in reading.text and "canary" not in reading.text and "ROOST" not in reading.text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"<svg>", ""),
        (b"", ""),
    ],
)
def test_a_picture_is_known_by_its_bytes(data: bytes, kind: str) -> None:
    assert picture_type(data) == kind
    assert not kind or data_url(data).startswith(f"data:{kind};base64,")
