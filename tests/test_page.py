"""The page of a report: one file with all that it shows, and nothing that is taken for markup."""

import re
from html import unescape

from helpers import PNG

from knn_metric.page import write_page


def test_a_page(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    table = [["rows", "alarms", "field"], ["<b>a</b>", "1,234"], ["b & c", "5.1%", "age"]]
    facts = {"data": "x.csv, <script>"}
    write_page(tmp_path / "a.html", "of $x & <y>", facts, {"By row": table}, [tmp_path / "a.png"])
    text = (tmp_path / "a.html").read_text()
    assert text.count("of $x &amp; &lt;y&gt;") == 2
    assert "x.csv, &lt;script&gt;" in text
    cells = re.findall(r'<td(?: class="(.*?)")?>([^<\n]*)', text)
    assert [unescape(cell) for _, cell in cells] == [
        "<b>a</b>",
        "1,234",
        "",
        "b & c",
        "5.1%",
        "age",
    ]
    assert [kind for kind, _ in cells] == ["", "number", ""] * 2
    assert re.findall(r'(?:src|href)="(.*?)[,"]', text) == ["data:image/png;base64"]
