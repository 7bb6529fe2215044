"""Public reports about what readers of HTML pages lose, join or read though nobody sees it."""

from __future__ import annotations

import pytest

from tests.reports.files import said

OPEN = "A page that omits HTML's optional tags loses no text"
HIDDEN = "Hidden elements of a page are not read, and a hidden element without an end tag hides nothing"
TABLES = "Each row of an HTML table repeats its column names; a layout table is read in page order"
PARTS = "Code, lists, definitions, line breaks and alternative texts of a page retain their structure"


@pytest.mark.parametrize(
    ("page", "says"),
    [
        pytest.param(page, says, marks=pytest.mark.report("documents", sentence))
        for sentence, page, says in [
            (OPEN, "<title>T<body><h1>Pump<p>Nine<p>Ten<title>U</title>on", ["Pump", "Nine", "Ten", "on"]),
            (OPEN, "<!doctype html><html><head><title>T</title><main><p>Nine</main>", ["Nine"]),
            (OPEN, "<ul><li>one<li>two</ul><td>lost", ["one", "two", "lost"]),
            (OPEN, "caf&eacute &amp tea &copy 5 &lt; 6 &#x41 &nbsp;!", ["café & tea © 5 < 6 A !"]),
            (OPEN, "<h2><div>Title</div></h2>text", ["Title", "text"]),
            (OPEN, "<?xml version='1.0'?><html><body><div/><p>a <![CDATA[b < c]]></p></body></html>", ["a b < c"]),
            (HIDDEN, "<template><p>x</p></template>y<noscript>z</noscript>w", ["yw"]),
            (HIDDEN, "<noscript>left open <p>Nine years", ["left open", "Nine years"]),
            (HIDDEN, "<div hidden>no<div>no</div></div>yes<p style='DISPLAY : none'>no<p>two", ["yes", "two"]),
            (HIDDEN, "<ul><li hidden>no<ul><li>no</ul><li>yes</ul>z", ["yes", "z"]),
            (HIDDEN, "<div hidden>never closed <p>text", ["never closed", "text"]),
            (HIDDEN, "<p hidden=until-found>found<details><summary>S</summary>D</details>", ["found", "S", "D"]),
            (HIDDEN, "<a hidden>no</a>yes<input hidden>also", ["yesalso"]),
            (HIDDEN, "<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp>字<rt>ji</ruby>x", ["漢字x"]),
            (TABLES, "<table><tr><th>Part<th>Price<tr><td>Valve<td>9</table>", ["Part: Valve; Price: 9"]),
            (TABLES, "<table><tr><th>Owner<td>Alice<tr><th>Until<td>May</table>", ["Owner: Alice", "Until: May"]),
            (TABLES, "<table><thead><tr><td>x<td>y</thead><tr><td>a<td>b</table>", ["x: a; y: b"]),
            (TABLES, "<table><tr><td>One box</table>", ["One box"]),
            (
                TABLES,
                "<table><tr><th rowspan=2>Region<th colspan=2>2025<tr><th>Sales<th>Costs<tr><td rowspan=2>North<td>1"
                "<td>2<tr><td colspan=2>none</table>",
                ["Region: North; 2025 Sales: 1; 2025 Costs: 2", "Region: North; 2025 Sales: none; 2025 Costs: none"],
            ),
            (
                TABLES,
                "<table><caption>Prices</caption><tr><td colspan=3>As of May<tr><td>Item<td>Price<td>Left<tr><td>Pump"
                "<td>9<td>1<tr><td colspan=3>All net</table>",
                ["Prices", "As of May", "Item: Pump; Price: 9; Left: 1", "All net"],
            ),
            (
                TABLES,
                "<table><tr><td>nav<td><h2>Pump</h2>Nine.<table><tr><th>A<th>B<tr><td>1<td>2</table>on</table>end",
                ["nav", "Pump", "Nine.", "A: 1; B: 2", "on", "end"],
            ),
            (TABLES, "<table><tr><td>a<br>b<td>c<tr><td>d<td>e</table>", ["a b: c", "d: e"]),
            (PARTS, "<pre>\ndef f():\n    return 1\n\n\nx\n</pre>on", ["def f():\n    return 1\nx", "on"]),
            (PARTS, "<dl><dt>Warranty<dd>two years<dt>Colour<dt>Shade<dd>red</dl>", ["Warranty: two years",
                                                                                       "Colour, Shade: red"]),
            (PARTS, "<ol><li>Open<ul><li>x</ul><li>Close<li value=7>Seven</ol>", ["1. Open", "x", "2. Close",
                                                                                    "7. Seven"]),
            (PARTS, "<ol start=3><li><p>Turn</ol>", ["3. Turn"]),
            (PARTS, "Main St 1<br>Leeds<br><br>Call us", ["Main St 1\nLeeds", "Call us"]),
            (PARTS, "<img alt='A red valve' src=x> here <img alt=''><img src='alt'>", ["A red valve here"]),
        ]
    ],
)  # fmt: skip
def test_pages(page: str, says: list[str]) -> None:
    assert said("a.html", page.encode()) == says
