"""The tables and the picture of what scripts/bench.py measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monitoring.plotting import add_title, save

NAMES = {"ours": "this package"}


def format_tables(results: dict) -> str:
    """Return the README's tables: each ratio beside the two figures that it comes from."""
    blocks = (
        _compare_all(results),
        _compare_served(results["serve"]),
        _list_sizes(results["grow"]),
    )
    return "\n\n".join("\n".join(block) for block in blocks)


def _compare_all(results: dict) -> list[str]:
    lines = [_line("", "this package", "pyod", "as fast")]
    for name, label in (("image", "image's pyod 1.0.0"), ("current", "current pyod")):
        request, fit = results["request"][name], results["fit"][name]
        lines.append(_compare(f"one request, {label}, p50 us", request, "p50_us"))
        lines.append(_compare("  p99 us", request, "p99_us"))
        lines.append(_compare("  training, s", fit, "seconds", 2))
    for cores, rates in results["batch"].items():
        ratio = f"{rates['ours'] / rates['pyod']:.1f}x"
        cells = f"{rates['ours']:.0f}", f"{rates['pyod']:.0f}", ratio
        lines.append(_line(f"10,000 rows at once, {cores}, rows a second", *cells))
    lines.append(_compare("start to first value, image, s", results["start"], "seconds", 1))
    memory = (_whole(results["start"][side]["resident_mb"]) for side in ("ours", "pyod"))
    return [*lines, _line("  resident, MB", *memory)]


def _compare_served(served: dict) -> list[str]:
    first, last = served["constant"], served["constant again"]
    base = {key: (first[key] + last[key]) / 2 for key in first}
    sides = {"a constant": base, "this package": served["ours"], "pyod": served["pyod"]}
    lines = [_line("over gRPC, image", "p50 us", "ratio", "10 clients/s", "ratio")]
    for label, side in sides.items():
        cells = ((_whole(side[key]), _ratio(side[key], base[key])) for key in base)
        lines.append(_line(label, *chain(*cells)))
    noise = {key: _ratio(last[key], first[key]) for key in base}
    lines.append(_line("  last constant to first", "", noise["p50_us"], "", noise["per_second"]))
    return lines


def _list_sizes(grow: dict) -> list[str]:
    lines = [_line("rows trained on, 2 cores", "s", "pyod, s", "p50 us", "p99 us", "MB")]
    for size, side in grow.items():
        pyod = f"{side['pyod_s']:.1f}" if "pyod_s" in side else "-"
        cells = (_whole(side[key]) for key in ("p50_us", "p99_us", "resident_mb"))
        lines.append(_line(f"{int(size):,}", f"{side['fit_s']:.1f}", pyod, *cells))
    return lines


def _compare(label: str, sides: dict, key: str, digits: int = 0) -> str:
    ours, pyod = sides["ours"][key], sides["pyod"][key]
    return _line(label, f"{ours:.{digits}f}", f"{pyod:.{digits}f}", f"{pyod / ours:.1f}x")


def _line(label: str, *cells: str) -> str:
    return (f"{label:<42}" + "".join(f"{cell:>13}" for cell in cells)).rstrip()


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.2f}"


def plot(results: dict, source: str, path: Path) -> None:
    """Draw one request's latency above, and below how time and memory grow."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    (process, served), (latency, memory) = figure.subplots(2, 2)
    request = {
        f"{NAMES.get(side, side)},\n{name}": figures
        for name, sides in results["request"].items()
        for side, figures in sides.items()
    }
    _draw_bars(process, request, "one request in process, p50 us")
    over_grpc = {NAMES.get(side, side): figures for side, figures in results["serve"].items()}
    _draw_bars(served, over_grpc, "one request over gRPC, p50 us")
    _draw_growth(latency, results["grow"], ("p50_us", "p99_us"), "one request, us")
    _draw_growth(memory, results["grow"], ("resident_mb",), "memory, MB")
    figure.legend(*latency.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    people = " (a sample of synthetic people)" if source == "sample" else ""
    add_title(figure, f"This package beside pyod and a constant{people}")
    save(figure, path)


def _draw_bars(axes: Axes, sides: dict[str, dict], title: str) -> None:
    bars = axes.bar(list(sides), [side["p50_us"] for side in sides.values()], color="tab:blue")
    axes.bar_label(bars, fmt="{:.0f}")
    axes.set_title(title)
    axes.margins(y=0.1)


def _draw_growth(axes: Axes, grow: dict[str, dict], keys: Sequence[str], title: str) -> None:
    for key in keys:
        values = [side[key] for side in grow.values()]
        axes.plot([int(size) for size in grow], values, "o-", label=key.replace("_", ", "))
    axes.set_title(title)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows trained on")
