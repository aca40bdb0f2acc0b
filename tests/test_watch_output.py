"""What scripts/watch.py says for programs and on pictures, and how it follows a target."""

import json
import re
import signal
import subprocess
import sys

from lib import watch_picture
from lib.command import ROOT
from lib.replay import FAILED, PASSED
from lib.sonar import format_time

import numpy as np
import pytest
from helpers import DRIFT, METRIC, PNG, assert_one_line, count_alarms, made, run
from scipy.stats import binom
from stub_sonar import FIRST_SECOND

import watch


class TestJson:
    def test_it_says_what_the_table_says(self, look, feed, served, cluster):
        feed(served)
        result = look("--json")
        content = json.loads(result.out)
        (metric,) = content.pop("metrics")
        table = look()
        assert content == {
            "target": "adult:1",
            "cluster": cluster.address,
            "alert": True,
            "line": table.out.splitlines()[-1],
        }
        assert result.status == 1
        assert metric["because"]["hours_per_week"] > 90
        assert (
            f"because of         hours_per_week {metric['because']['hours_per_week']}" in table.out
        )
        assert metric["rate"] == count_alarms(served[DRIFT:]) / 1000
        assert metric["noticed"] == FIRST_SECOND + DRIFT + 99

    def test_help_names_every_key(self, look, feed):
        feed(made(PASSED, repeat=100))
        content = json.loads(look("--json").out)
        words = set(re.findall(r"\w+", run(watch.main, "--help").out.split("--json prints")[1]))
        assert {*content, *content["metrics"][0], *content["metrics"][0]["worst"]} <= words

    def test_nothing_checked(self, look, feed):
        feed(made(FAILED, repeat=100))
        (metric,) = json.loads(look("--json").out)["metrics"]
        assert (metric["rate"], metric["worst"], metric["p"]) == (None, None, 1.0)


class TestPicture:
    def test_rates_band_and_alert(self, look, feed, served, tmp_path, monkeypatch):
        figures = []
        save = watch_picture.save
        monkeypatch.setattr(
            watch_picture, "save", lambda *them: (figures.append(them[0]), save(*them))
        )
        feed(served)
        path = tmp_path / "new" / "watch.png"
        result = look("--plot", path, "--requests", 3000)
        assert path.read_bytes().startswith(PNG)
        (figure,) = figures
        assert figure.get_suptitle() == f"adult:1, {result.out.splitlines()[-1]}"
        (axes,) = figure.axes
        rates = [
            100 * count_alarms(served[start : start + 100]) / 100 for start in range(0, 3000, 100)
        ]
        np.testing.assert_allclose(axes.lines[0].get_ydata(), rates)
        (label,) = [text for text in labels(figure) if text.startswith("noticed")]
        assert label == f"noticed, {format_time(FIRST_SECOND + DRIFT + 99)}"
        band = axes.collections[1].get_paths()[0].vertices[:, 1].max()
        normal = float(axes.get_title("left").split()[-1].rstrip("%")) / 100
        assert binom.sf(band - 1, 100, normal) > 0.001 > binom.sf(band, 100, normal)

    def test_several_metrics_and_one_batch(self, look, cluster, attach, tmp_path):
        """One of which never answered."""
        attach()
        attach("hvdm", 0.5)
        outcomes = {METRIC: made(PASSED, repeat=50), "hvdm": made(FAILED, repeat=50)}
        cluster.sonar.add(outcomes, cluster.versions[0], 4.0)
        look("--plot", tmp_path / "watch.png")
        assert (tmp_path / "watch.png").read_bytes().startswith(PNG)

    def test_nowhere_to_write_is_told_at_once(self, look, tmp_path):
        result = look("--plot", tmp_path, target="none:1")
        assert_one_line(result, "cannot be written")


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestFollow:
    """Time is a list of what happens meanwhile; at its end somebody types Ctrl-C."""

    @pytest.fixture
    def live(self, look, cluster, monkeypatch):
        """Return a function that follows, and what it paused."""

        def live(*happens, options=("--follow", 60)):
            pauses, happening = [], iter(happens)

            def sleep(seconds):
                pauses.append(seconds)
                try:
                    next(happening)()
                except StopIteration:
                    raise KeyboardInterrupt from None

            monkeypatch.setattr(watch.time, "sleep", sleep)
            return look(*options), pauses

        return live

    @pytest.fixture
    def go_on(self, cluster, threshold):
        """Return a function that makes a function which lets requests arrive."""

        def go_on(outcomes):
            second = FIRST_SECOND + len(cluster.sonar.documents[11])
            target = cluster.versions[0]
            cluster.sonar.add({METRIC: outcomes}, target, threshold, second=second)

        return lambda outcomes: lambda: go_on(outcomes)

    def test_a_line_for_new_batches(self, live, feed, served, go_on):
        feed(served[:1900])
        nothing = go_on([])
        happens = (nothing, go_on(served[1900:2000]), nothing, go_on(served[2000:2200]), nothing)
        result, pauses = live(*happens)
        assert (result.status, result.err) == (0, "")
        times = [format_time(FIRST_SECOND + end - 1) for end in (1900, 2000, 2200)]
        lines = result.out.splitlines()
        assert [line[:25] for line in lines] == times
        assert [line[27:].split(":")[0] for line in lines] == ["ok", "ok", "alert"]
        assert lines[2].endswith("because of hours_per_week")
        assert pauses == [60] * 6

    def test_a_cluster_that_goes_away(self, live, feed, served, cluster, go_on):
        feed(served[:1900])
        away = {"/monitoring/": (503, "text/html", b"<html>")}
        happens = [lambda: cluster.instead.update(away), *[go_on([])] * 5, cluster.instead.clear]
        result, pauses = live(*happens, go_on(served[1900:2000]))
        assert result.status == 0
        assert len(result.err.splitlines()) == 1
        assert "HTTP 503" in result.err
        assert result.err.endswith("; waiting\n")
        assert pauses == [60, 120, 240, 480, 600, 600, 600, 60, 60]
        assert [line[27:29] for line in result.out.splitlines()] == ["ok"] * 3

    def test_no_checks_yet(self, live, attach, cluster, go_on):
        attach()
        cluster.sonar.documents[11] = []
        result, _ = live(go_on(made(PASSED, repeat=10)))
        assert result.err == "watch.py: no checks of adult:1 yet; waiting\n"
        assert len(result.out.splitlines()) == 1

    def test_json_and_picture(self, live, feed, go_on, tmp_path):
        feed(made(PASSED, repeat=100))
        path = tmp_path / "watch.png"
        happens = (path.unlink, go_on(made(PASSED, repeat=100)))
        result, _ = live(*happens, options=("--follow", 60, "--json", "--plot", path))
        requests = [json.loads(line)["metrics"][0]["requests"] for line in result.out.splitlines()]
        assert requests == [100, 200]
        assert path.read_bytes().startswith(PNG)

    def test_what_cannot_be_watched_is_told_at_once(self, live, feed):
        feed(made(PASSED))
        result, pauses = live(options=("--follow", 60, "--metric", "other"))
        assert_one_line(result, "no metric other on adult:1, there is census_monitoring")
        assert pauses == []

    def test_ctrl_c(self, feed, cluster):
        feed(made(PASSED, repeat=100))
        options = ("--cluster", cluster.address, "--follow", "60", "--normal", "0.05")
        line = [sys.executable, ROOT / "scripts" / "watch.py", "adult:1", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(line, **pipes) as process:
            assert process.stdout.readline().endswith("0 alarms in 100 requests, 5 expected\n")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
