"""What is said of a replay, and its picture."""

import numpy as np
import pytest

from knn_metric.data.census import load_census
from knn_metric.data.rows import hold_out
from knn_metric.detection.change import REPEATS
from knn_metric.detection.verdict import Change, Verdict
from knn_metric.replay import report as plot_module
from knn_metric.replay.outcome import ALARM, FAILED, PASSED, REJECTED, Outcome, Replay, judge
from knn_metric.replay.report import describe, format_summary

CALIBRATION = {
    "fields": {"age": [[0.2, 0.5], [500, 10], [1000, 1000]], "classes": [[0.2], [200], [1000]]},
    "rarities": {"age": [0.5, 0.9], "classes": [0.2, 0.9]},
}
CHANGE = Change(500, 503, 599, 4, 1e6, "age")


def make_replay(*parts, changes=(), missing=(), source="mine.csv", step=1):
    """Return a replay of parts: how many requests, their result, the corruption's name."""
    outcomes, surprises = [], []
    for count, result, corruption in parts:
        scored = result in (PASSED, ALARM)
        score = {PASSED: 1.0, ALARM: 99.0}.get(result, np.nan)
        end = "" if scored else "why", 1.0, 2.0 if scored else np.nan
        for _ in range(count):
            row = step * len(outcomes)
            outcomes.append(Outcome(row, corruption, (1.0, 0.0), score, result, *end))
            surprises.append([0.9 * (result == ALARM), 0.0] if scored else [np.nan, np.nan])
    n_scored = sum(one.is_scored for one in outcomes)
    verdict = Verdict(len(outcomes), n_scored, 0, 0.0, tuple(changes), tuple(missing))
    n = len(outcomes)
    known = np.full(n, 0.5), np.array(surprises), 0, verdict, np.zeros(n)
    return Replay(CALIBRATION, source, 3.0, outcomes, *known)


class TestDescribe:
    def test_a_change_that_is_detected(self):
        parts = (500, PASSED, ""), (100, ALARM, "age-in-months")
        assert describe(make_replay(*parts, changes=[CHANGE])) == [
            "age-in-months from request 500 on: alarms 0.0% before, 100.0% since, 16.7% in all",
            "change detected at request 503, 3 after the corruption began; it began at about"
            " request 500",
            "age: 100 of 100 requests, 1 usual",
        ]

    def test_what_follows_a_change_that_is_over_is_not_counted(self):
        parts = (500, PASSED, ""), (100, ALARM, ""), (200, PASSED, "")
        over = CHANGE._replace(last=519)
        assert (
            describe(make_replay(*parts, changes=[over]))[-1] == "age: 20 of 20 requests, 0 usual"
        )

    @pytest.mark.parametrize(("field", "words"), [(REPEATS, [REPEATS]), ("", [])])
    def test_a_change_of_no_field(self, field, words):
        replay = make_replay((600, PASSED, ""), changes=[CHANGE._replace(field=field)])
        assert describe(replay)[1:] == [
            "change detected at request 503; it began at about request 500",
            *words,
        ]

    def test_requests_are_counted_as_they_were_sent(self):
        """Where a replay is interrupted, some of the last ones have no outcome."""
        replay = make_replay((600, PASSED, ""), changes=[CHANGE], step=2)
        assert "at request 1,006; it began at about request 1,000" in describe(replay)[1]

    def test_before_the_corruption(self):
        replay = make_replay((600, ALARM, ""), (50, PASSED, "age-missing"), changes=[CHANGE])
        assert ", 97 before the corruption began; " in describe(replay)[1]

    def test_a_corruption_from_the_start(self):
        replay = make_replay((1, ALARM, "age-missing"), (1, PASSED, "age-missing"))
        assert describe(replay)[0] == "age-missing from request 0 on: alarms 50.0%"

    def test_losses_are_named(self):
        parts = (1, PASSED, ""), (1, REJECTED, ""), (2, FAILED, "age-missing")
        lost = Change(1, 3, 3, 3, 1e6)
        assert describe(make_replay(*parts, missing=[lost])) == [
            "1 of 4 rejected: why",
            "2 of 4 failed: why",
            "age-missing from request 2 on: alarms 0.0% before, none scored since, 0.0% in all",
            "loss of scores detected at request 3, 1 after the corruption began; it began at about"
            " request 1",
            "no change detected",
        ]

    def test_nothing_scored(self):
        replay = make_replay((2000, REJECTED, ""))
        assert describe(replay) == ["2,000 of 2,000 rejected: why"]
        assert "metric" not in format_summary(replay)

    def test_top_features_of_alarms(self):
        summary = format_summary(make_replay((5, PASSED, ""), (3, ALARM, "")))
        assert summary.splitlines()[-1] == "top features of alarms: age 3"


def test_requests_that_were_not_scored_are_no_evidence(func_main):
    """They are of another change, that of missing scores; their place in the stream is kept."""
    detector = func_main.detector
    values = hold_out(load_census("sample"), detector.origin_).values[:300].copy()
    values[250:, 0] *= 12
    scores = detector.decision_function(values)
    results = [FAILED if 200 <= row < 250 else PASSED for row in range(300)]
    outcomes = [
        # A target that fails leaves no answer to send on.
        Outcome(row, "", tuple(one[:12]), np.nan, result, "why", 1.0, np.nan)
        if result == FAILED
        else Outcome(row, "", tuple(one), score, result, "", 1.0, 2.0)
        for row, (one, score, result) in enumerate(zip(values, scores, results, strict=True))
    ]
    replay = judge(outcomes[::-1], "mine.csv", detector.threshold_, detector)
    (change,), (lost,) = replay.verdict.changes, replay.verdict.missing
    assert (change.field, change.onset, change.detected < 260) == ("age", 250, True)
    assert (lost.onset, lost.detected < 210) == (200, True)
    assert replay.evidence[199:250].tolist() == [replay.evidence[199]] * 51
    assert set(replay.top_features[200:]) == {"", "age"}


class TestPicture:
    @pytest.fixture
    def draw(self, monkeypatch, tmp_path):
        """Return a function that draws a replay, and gives the figure back."""
        figures = []
        save = plot_module.save
        monkeypatch.setattr(
            plot_module, "save", lambda figure, path: figures.append(figure) or save(figure, path)
        )

        def draw(replay):
            plot_module.plot(replay, tmp_path / "a.png")
            return figures[-1]

        return draw

    @pytest.mark.parametrize(
        ("part", "others", "words"),
        [
            ((300, PASSED, ""), {}, "no change detected"),
            ((600, PASSED, ""), {"changes": [CHANGE]}, "change detected at request 503; "),
            ((20, REJECTED, ""), {}, "20 of 20 rejected: why"),
            ((2, PASSED, ""), {"source": "sample"}, "a sample of synthetic people"),
        ],
    )
    def test_its_title(self, draw, part, others, words):
        assert words in draw(make_replay(part, **others)).get_suptitle()

    def test_its_legend_hides_no_point(self, draw):
        figure = draw(make_replay((300, PASSED, ""), (50, ALARM, "mix")))
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
