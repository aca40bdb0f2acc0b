"""What the platform's gateway rejects; what is said of a replay, and its picture."""

import numpy as np
import pytest
from helpers import message
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor

from knn_metric.contract import Field
from knn_metric.detection.change import REPEATS
from knn_metric.detection.verdict import Change, Verdict
from knn_metric.replay import report
from knn_metric.replay.gateway import ALARM, FAILED, PASSED, REJECTED, Outcome, find_problem
from knn_metric.replay.report import Replay, judge

CALIBRATION = {
    "fields": {"age": [[0.2, 0.5], [500, 10], [1000, 1000]], "classes": [[0.2], [200], [1000]]},
    "rarities": {"age": [0.5, 0.9], "classes": [0.2, 0.9]},
}
CHANGE = Change(500, 503, 599, 4, 1e6, "age")
NAMELESS = CHANGE._replace(field="")
LOSS = Change(1, 3, 3, 3, 1e6)
BROKEN = [(500, PASSED, ""), (100, ALARM, "age-in-months")]


FIELDS = (Field("age", "int64"), Field("value", "double", (2,)))
TENSORS = {"age": message(1), "value": message([1.0, 2.0], 2, "double_val", (2,))}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"other": message(1)}, ""),
        ({"age": Tensor(dtype=1)}, "Expected DT_INT64 data type, got DT_FLOAT"),
        ({"age": Tensor(dtype=99)}, "Expected DT_INT64 data type, got 99"),
        ({"age": message(1, dims=(1,))}, "Expected [] shape, got [1]"),
        ({"value": Tensor(dtype=2)}, "Expected [2] shape, got []"),
        ({"age": None, "value": None}, "Missing field age; Missing field value"),
    ],
)
def test_what_the_gateway_rejects(changes, reason):
    tensors = {name: one for name, one in {**TENSORS, **changes}.items() if one is not None}
    assert find_problem(tensors, FIELDS) == reason


def make_replay(parts, changes=(), missing=(), source="mine.csv", step=1):
    """Return a replay of parts: how many requests, their result, the corruption's name."""
    outcomes, surprises = [], []
    for result, corruption in [part for count, *part in parts for _ in range(count)]:
        score = {PASSED: 1.0, ALARM: 99.0}.get(result, np.nan)
        end = ("", 1.0, 2.0) if result in (PASSED, ALARM) else ("why", 1.0, np.nan)
        row = step * len(outcomes)
        outcomes.append(Outcome(row, corruption, (1.0, 0.0), score, result, *end))
        surprises.append([0.9 * (result == ALARM), 0 * score])
    n = len(outcomes)
    n_scored = sum(one.is_scored for one in outcomes)
    verdict = Verdict(n, n_scored, 0, 0.0, tuple(changes), tuple(missing))
    known = np.full(n, 0.5), np.array(surprises), 0, verdict, np.zeros(n)
    return Replay(CALIBRATION, source, 3.0, outcomes, *known)


@pytest.mark.parametrize(
    ("replay", "said"),
    [
        (
            make_replay(BROKEN, [CHANGE]),
            "age-in-months from request 500 on: alarms 0.0% before, 100.0% since, 16.7% in all; "
            "change detected at request 503, 3 after the corruption began; it began at about"
            " request 500; age: 100 of 100 requests, 1 usual",
        ),
        (  # what follows a change that is over is not counted
            make_replay([*BROKEN, (200, PASSED, "")], [CHANGE._replace(last=519)]),
            "age: 20 of 20 requests, 0 usual",
        ),
        (
            make_replay([(600, PASSED, "")], [CHANGE._replace(field=REPEATS)]),
            f"change detected at request 503; it began at about request 500; {REPEATS}",
        ),
        (  # where a replay is interrupted, some of the last requests have no outcome
            make_replay([(600, PASSED, "")], [NAMELESS], step=2),
            "change detected at request 1,006; it began at about request 1,000",
        ),
        (
            make_replay([(600, ALARM, ""), (50, PASSED, "mix")], [NAMELESS]),
            "change detected at request 503, 97 before the corruption began; it began at about",
        ),
        (
            make_replay([(1, PASSED, ""), (1, REJECTED, ""), (2, FAILED, "mix")], missing=[LOSS]),
            "1 of 4 rejected: why; 2 of 4 failed: why; "
            "mix from request 2 on: alarms 0.0% before, none scored since, 0.0% in all; "
            "loss of scores detected at request 3, 1 after the corruption began; it began at about"
            " request 1; no change detected",
        ),
        (
            make_replay([(1, ALARM, "mix"), (1, PASSED, "mix")]),
            "mix from request 0 on: alarms 50.0%",
        ),
        (make_replay([(2000, REJECTED, "")]), "2,000 of 2,000 rejected: why"),
    ],
)
def test_what_is_said(replay, said):
    assert said in "; ".join(report.describe(replay))


def test_the_summary():
    summary = report.format_summary(make_replay([(5, PASSED, ""), (3, ALARM, "")]))
    assert summary.splitlines()[-1] == "top features of alarms: age 3"
    assert "metric" not in report.format_summary(make_replay([(20, REJECTED, "")]))


def test_requests_that_were_not_scored_are_no_evidence(detector, healthy):
    """They are of another change, that of missing scores; their place in the stream is kept."""
    values = healthy.values[:300].copy()
    values[250:, 0] *= 12
    scores = detector.decision_function(values)
    outcomes = [
        # A target that fails leaves no answer to send on.
        Outcome(row, "", tuple(one[:12]), np.nan, FAILED, "why", 1.0, np.nan)
        if 200 <= row < 250
        else Outcome(row, "", tuple(one), score, PASSED, "", 1.0, 2.0)
        for row, (one, score) in enumerate(zip(values, scores, strict=True))
    ]
    replay = judge(outcomes[::-1], "mine.csv", detector.threshold_, detector)
    (change,), (lost,) = replay.verdict.changes, replay.verdict.missing
    assert (change.field, change.onset, change.detected < 260) == ("age", 250, True)
    assert (lost.onset, lost.detected < 210) == (200, True)
    assert replay.evidence[199:250].tolist() == [replay.evidence[199]] * 51
    assert set(replay.top_features[200:]) == {"", "age"}


@pytest.mark.parametrize(
    ("replay", "words"),
    [
        (
            make_replay(BROKEN, [CHANGE], source="sample"),
            "the sample of synthetic people\nage-in-m",
        ),
        (make_replay([(20, REJECTED, "")]), "rows of mine.csv\n20 of 20 rejected: why"),
    ],
)
def test_the_pictures_title_and_that_its_legend_hides_no_point(
    replay, words, monkeypatch, tmp_path
):
    figures = []
    monkeypatch.setattr(report, "save", lambda figure, _: figures.append(figure))
    report.plot(replay, "a replay", tmp_path / "a.png")
    (figure,) = figures
    figure.draw_without_rendering()
    assert words in figure.get_suptitle()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
