"""Print the tables and draw the picture of the figures that bench.py has kept."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = """\
examples:
  bench_report.py                      reports/bench.json
  bench_report.py mine.json --plot mine.png
"""


def format_tables(results: dict) -> str:
    """Return the README's tables: each ratio beside the two figures that it comes from."""
    request, served, start = results["request"], results["serve"], results["start"]
    train, batch, grow = results["train"], results["batch"], results["grow"]
    sides = (
        ("this package, current pyod's environment", "ours_current"),
        ("tutorial, current pyod", "tutorial_current"),
        ("this package, image's environment", "ours_image"),
        ("tutorial, pyod 1.0.0, image's environment", "tutorial_image"),
    )
    lines = [f"machine: {results['machine']}", ""]
    lines += [f"{'one request in process':<44}{'p50 us':>8}{'p99 us':>8}{'ratio':>8}"]
    for label, side in sides:
        ours = request["ours_" + side.split("_")[1]]["p50_us"]
        p50, p99 = request[side]["p50_us"], request[side]["p99_us"]
        lines.append(f"{label:<44}{p50:>8.0f}{p99:>8.0f}{p50 / ours:>8.2f}")
    lines += [
        "",
        f"{'over gRPC, image':<28}{'p50 us':>8}{'ratio':>8}{'10 clients/s':>14}{'ratio':>8}",
    ]
    base = served["constant"]
    for name, label in (("constant", "a constant"), ("ours", "this package"), ("tutorial",) * 2):
        side = served[name]
        ratios = side["p50_us"] / base["p50_us"], side["per_second"] / base["per_second"]
        cells = (
            f"{side['p50_us']:>8.0f}{ratios[0]:>8.2f}{side['per_second']:>14.0f}{ratios[1]:>8.2f}"
        )
        lines.append(f"{label:<28}{cells}")
    lines += ["", f"{'start and size, image':<28}{'this package':>14}{'tutorial':>14}"]
    for label, key in (("start to first value, s", "seconds"), ("resident, MB", "resident_mb")):
        lines.append(f"{label:<28}{start['ours'][key]:>14.1f}{start['tutorial'][key]:>14.1f}")
    for label, key, unit in (("training, s", "seconds", 1), ("artifact, KB", "bytes", 1000)):
        cells = [train[f"{side}_image"][key] / unit for side in ("ours", "tutorial")]
        lines.append(f"{label:<28}{cells[0]:>14.1f}{cells[1]:>14.1f}")
    lines += ["", f"{'rows a second, 10,000 at once':<32}{'1 core':>10}{'2 cores':>10}"]
    for label, side in (("this package", "portable"), ("current pyod", "pyod")):
        lines.append(f"{label:<32}{batch[side + '_1']:>10.0f}{batch[side + '_2']:>10.0f}")
    head = ("build s", "p50 us", "p99 us", "MB")
    lines += ["", f"{'rows in the index':<20}" + "".join(f"{cell:>10}" for cell in head)]
    for size, side in grow.items():
        cells = f"{side['p50_us']:>10.0f}{side['p99_us']:>10.0f}{side['resident_mb']:>10.0f}"
        lines.append(f"{int(size):<20,}{side['build_s']:>10.2f}{cells}")
    return "\n".join(lines)


def plot(results: dict, path: Path) -> None:
    """Draw one request's latency by side, and the growth on log axes."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    process, served, growth = figure.subplots(1, 3, width_ratios=(4, 3, 4))
    names = {
        "this package\n(image)": results["request"]["ours_image"],
        "pyod 1.0.0\n(image)": results["request"]["tutorial_image"],
        "this package\n(current)": results["request"]["ours_current"],
        "pyod 3\n(current)": results["request"]["tutorial_current"],
    }
    draw_bars(process, names, "one request in process, p50 us")
    names = dict(
        zip(("constant", "this package", "tutorial"), results["serve"].values(), strict=True)
    )
    draw_bars(served, names, "one request over gRPC, p50 us")
    sizes = [int(size) for size in results["grow"]]
    for key, label in (("p50_us", "p50, us"), ("p99_us", "p99, us"), ("resident_mb", "memory, MB")):
        growth.plot(sizes, [side[key] for side in results["grow"].values()], "o-", label=label)
    build = [1000 * side["build_s"] for side in results["grow"].values()]
    growth.plot(sizes, build, "o-", label="build, ms")
    growth.set_xscale("log")
    growth.set_yscale("log")
    growth.set_xlabel("rows in the index")
    growth.set_title("growth")
    growth.legend()
    figure.savefig(path, dpi=110)


def draw_bars(axes: Axes, sides: dict[str, dict], title: str) -> None:
    bars = axes.bar(list(sides), [side["p50_us"] for side in sides.values()], color="tab:blue")
    axes.bar_label(bars, fmt="{:.0f}")
    axes.set_title(title)
    axes.margins(y=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench_report.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reports = ROOT / "reports"
    parser.add_argument("figures", type=Path, nargs="?", default=reports / "bench.json")
    parser.add_argument("--plot", type=Path, default=reports / "bench.png", help="picture to draw")
    arguments = parser.parse_args()
    try:
        results = json.loads(arguments.figures.read_text())
        print(format_tables(results))
        plot(results, arguments.plot)
    except OSError as error:
        parser.exit(2, f"bench_report.py: {error.filename}: {error.strerror}\n")
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{arguments.figures} is not of bench.py's making: {error!r}"
        parser.exit(2, f"bench_report.py: {problem}\n")


if __name__ == "__main__":
    main()
