"""What is said of a replay, and its picture."""

import numpy as np
import pytest

from monitoring.detection.change_detection import measure_levels
from monitoring.replay import plot as plot_module
from monitoring.replay.outcome import ALARM, FAILED, PASSED, REJECTED, Outcome, Replay
from monitoring.replay.report import describe, detect_changes, format_summary

NAMES = ("age", "classes")


@pytest.fixture(scope="module")
def calibration():
    random = np.random.default_rng(0)
    levels = measure_levels(random.exponential(size=20_000), random.exponential(size=5000))
    return {**levels, "top_features": {"age": 200, "classes": 50}}


def make_replay(*parts, source="mine.csv"):
    """Return a replay of parts: how many requests, their result, the corruption's name."""
    outcomes, tops = [], []
    random = np.random.default_rng(1)
    for count, result, corruption in parts:
        for _ in range(count):
            value = 99.0 if result == ALARM else min(random.exponential(), 2.9)
            scored = result in (PASSED, ALARM)
            reason = "" if scored else "why"
            row = len(outcomes)
            sent = (1.0, 0.0)
            outcomes.append(
                Outcome(
                    row, corruption, sent, value, result, reason, 1.0, 2.0 if scored else np.nan
                )
            )
            tops.append("age" if scored else "")
    return Replay(NAMES, source, 3.0, outcomes, np.full(len(outcomes), 0.5), tops)


class TestDescribe:
    def test_a_change_that_is_detected(self, calibration):
        replay = make_replay((500, PASSED, ""), (100, ALARM, "age-in-months"))
        detections, evidence = detect_changes(replay, calibration)
        assert len(evidence) == 600
        rate, detected, field = describe(replay, detections)
        assert rate == (
            "age-in-months from request 500 on: alarms 0.0% before, 100.0% since, 16.7% in all"
        )
        assert detected == (
            "change detected at request 503, 3 after the corruption began; it began at about"
            " request 500"
        )
        assert field == "age: 100 of 100 requests, 4 usual"

    def test_requests_that_were_not_scored_are_no_evidence(self, calibration):
        """And the requests are counted as they were sent."""
        replay = make_replay((200, PASSED, ""), (50, REJECTED, ""), (50, ALARM, ""))
        detections, evidence = detect_changes(replay, calibration)
        assert len(evidence) == 250
        assert (detections[0].request, detections[0].onset) == (253, 250)

    def test_none_is_detected(self, calibration):
        replay = make_replay((300, PASSED, ""))
        assert describe(replay, detect_changes(replay, calibration)[0]) == [
            "0.0% of 300 requests raise an alarm",
            "no change detected",
        ]

    def test_before_the_corruption(self, calibration):
        replay = make_replay((50, ALARM, ""), (300, PASSED, "age-missing"))
        _, detected, _ = describe(replay, detect_changes(replay, calibration)[0])
        assert ", 46 before the corruption began; " in detected

    def test_a_corruption_from_the_start(self, calibration):
        replay = make_replay((1, ALARM, "age-missing"), (1, PASSED, "age-missing"))
        assert describe(replay, [])[0] == "age-missing from request 0 on: alarms 50.0%"

    def test_losses_are_named(self, calibration):
        replay = make_replay((1, PASSED, ""), (1, REJECTED, ""), (2, FAILED, "age-missing"))
        assert describe(replay, []) == [
            "1 of 4 rejected: why",
            "2 of 4 failed: why",
            "age-missing from request 2 on: alarms 0.0% before, none scored since, 0.0% in all",
            "no change detected",
        ]

    def test_nothing_scored(self, calibration):
        replay = make_replay((2000, REJECTED, ""))
        assert describe(replay, detect_changes(replay, calibration)[0]) == [
            "2,000 of 2,000 rejected: why"
        ]
        assert "metric" not in format_summary(replay)


class TestPicture:
    @pytest.fixture
    def draw(self, calibration, monkeypatch, tmp_path):
        """Return a function that draws a replay, and gives the figure back."""
        figures = []
        save = plot_module.save
        monkeypatch.setattr(
            plot_module, "save", lambda figure, path: figures.append(figure) or save(figure, path)
        )

        def draw(replay):
            plot_module.plot(replay, *detect_changes(replay, calibration), tmp_path / "a.png")
            return figures[-1]

        return draw

    @pytest.mark.parametrize(
        ("parts", "source", "words"),
        [
            ([(300, PASSED, "")], "mine.csv", "no change detected"),
            (
                [(300, PASSED, ""), (50, ALARM, "mix")],
                "mine.csv",
                "detected at request 303, 3 after",
            ),
            ([(20, REJECTED, "")], "mine.csv", "20 of 20 rejected: why"),
            ([(2, PASSED, "")], "sample", "a sample of synthetic people"),
        ],
    )
    def test_its_title(self, draw, parts, source, words):
        assert words in draw(make_replay(*parts, source=source)).get_suptitle()

    def test_its_legend_hides_no_point(self, draw):
        figure = draw(make_replay((300, PASSED, ""), (50, ALARM, "mix")))
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
