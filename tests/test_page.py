"""The page of a report: one file with all that it shows, and nothing that is taken for markup."""

from html.parser import HTMLParser

from helpers import PNG

from knn_metric.page import write_page


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data.strip())


def test_a_page(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    table = [["rows", "alarms", "field"], ["<b>a</b>", "1,234"], ["b & c", "5.1%", "age"]]
    facts = {"data": "x.csv, <script>"}
    write_page(tmp_path / "a.html", "of $x & <y>", facts, {"By row": table}, [tmp_path / "a.png"])
    reader = Reader()
    reader.feed((tmp_path / "a.html").read_text())
    words = [word for word in reader.text if word]
    assert words.count("of $x & <y>") == 2
    cells = ["<b>a</b>", "1,234", "b & c", "5.1%", "age"]
    assert words[-1 - len(cells) : -1] == cells  # the last is the script
    assert "x.csv, <script>" in words
    assert [tag for tag, _ in reader.tags].count("td") == 6
    numbers = [attrs.get("class") for tag, attrs in reader.tags if tag == "td"]
    assert numbers == [None, "number", None, None, "number", None]
    sources = [attrs[key] for _, attrs in reader.tags for key in ("src", "href") if key in attrs]
    assert [source.partition(",")[0] for source in sources] == ["data:image/png;base64"]
