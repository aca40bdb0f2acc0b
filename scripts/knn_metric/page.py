"""A report as one HTML file: facts, tables that can be sorted, and pictures."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path
from string import Template

from knn_metric.files import replacing_file

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1f2328; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dt { color: #57606a; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; } th, td { padding: .3rem .8rem .3rem 0; white-space: nowrap; }
th { border-bottom: 2px solid #d0d7de; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid #0969da; }
td { border-bottom: 1px solid #d8dee4; }
th:not(.number) { text-align: left; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
</style>
</head>
<body>
<h1>$title</h1>
$facts
$tables
$pictures
<script>
const read = cell => {
  const text = cell.textContent, number = parseFloat(text.replace(/[,%]/g, ""));
  return isNaN(number) ? text : number;
};
document.querySelectorAll("th button").forEach(button => button.onclick = () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [one, other].map(row => read(row.cells[head.cellIndex]));
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return down * (a < b ? -1 : a > b ? 1 : 0);
  });
  head.parentNode.querySelectorAll("th").forEach(one => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
  body.append(...rows);
});
</script>
</body>
</html>
""")


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    tables: Mapping[str, Sequence[Sequence[str]]],
    pictures: Iterable[Path],
) -> None:
    """Write facts by name, tables by title, the head first, and PNG files into one page."""
    listed = "\n".join(f"<dt>{escape(name)}<dd>{escape(fact)}" for name, fact in facts.items())
    images = (base64.b64encode(picture.read_bytes()).decode() for picture in pictures)
    text = PAGE.substitute(
        title=escape(title),
        facts=f"<dl>\n{listed}\n</dl>" if listed else "",
        tables="\n".join(_format_table(name, rows) for name, rows in tables.items()),
        pictures="\n".join(f'<p><img alt="" src="data:image/png;base64,{one}">' for one in images),
    )
    with replacing_file(path) as new:
        new.write_text(text, encoding="utf-8")


def _format_table(title: str, rows: Sequence[Sequence[str]]) -> str:
    columns = [*zip_longest(*rows, fillvalue="")]
    marks = [' class="number"' if any(map(_is_number, cells)) else "" for _, *cells in columns]
    head, *others = ([*zip(marks, cells, strict=True)] for cells in zip(*columns, strict=True))
    buttons = (f"<button>{escape(name)}</button>" if name else "" for _, name in head)
    heads = "".join(
        f'<th{mark} scope="col">{one}' for mark, one in zip(marks, buttons, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}" for mark, cell in row) for row in others
    )
    table = f"<table>\n<thead><tr>{heads}\n<tbody>\n{body}\n</table>"
    return f'<h2>{escape(title)}</h2>\n<div class="scroll">\n{table}\n</div>'


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").rstrip("%").isdigit()
