"""Healthy traffic raises no alert, and changes are detected soon: measured, with counts printed."""

from dataclasses import replace

import numpy as np
import pytest

from knn_metric.contract import Contract
from knn_metric.data.corruptions import corrupt, parse_corruption
from knn_metric.data.rows import Rows, load_rows
from knn_metric.detection.change import Evidence
from knn_metric.detection.evaluation import Judge
from knn_metric.detection.training import find_drift, train
from knn_metric.files import ROOT

pytestmark = pytest.mark.slow
MONDAY = 1_767_571_200  # 2026-01-05T00:00:00Z


@pytest.fixture(scope="module")
def known(uci):
    return load_rows([str(uci)], Contract.read(ROOT))


@pytest.fixture(scope="module")
def new():
    path = ROOT / "data" / "adult.test"
    if not path.exists():
        pytest.skip("UCI's adult.test is not at hand")
    return load_rows([str(path)], Contract.read(ROOT))


@pytest.fixture(scope="module")
def detector(known):
    return train(known)[0]


def detect(detector, rows, name):
    """Return the delays of streams of healthy rows that are corrupted, and the fields named."""
    judge = Judge(detector)
    clean = judge.feed(judge.look(rows))
    return judge.detect(clean, judge.look(corrupt(parse_corruption(name, rows), rows)))


def count_alerts(detector, rows, orders):
    """Count the alerts of streams side by side, each a row of positions."""
    judge = Judge(detector)
    exceeded = judge.look(rows).exceeded
    keys = np.unique(rows.values, axis=0, return_inverse=True)[1].ravel().tolist()
    evidence = Evidence(judge.bets, judge.window, len(orders))
    n_alerts = 0
    for places in np.transpose(orders):
        _, alerted, _ = evidence.add(exceeded[places], [keys[place] for place in places])
        n_alerts += int(alerted.sum())
    print(f"{n_alerts} false alerts in {np.size(orders):,} healthy requests")
    return n_alerts


def draw_orders(n_rows, n_streams=600, length=10_000):
    random = np.random.default_rng(0)
    times = -(-length // n_rows)
    return [
        np.concatenate([random.permutation(n_rows) for _ in range(times)])[:length]
        for _ in range(n_streams)
    ]


def test_healthy_requests(detector, new):
    """60 in 6,000,000 are allowed."""
    assert count_alerts(detector, new, draw_orders(len(new))) <= 6


def make_apartments(n_rows, seed):
    """Numbers of very different scale, and codes that depend on each other."""
    random = np.random.default_rng(seed)
    rooms, zone = random.integers(1, 6, n_rows), random.integers(0, 8, n_rows)
    area = random.lognormal(3 + 0.3 * rooms, 0.25)
    new, floor = random.random(n_rows) < 0.2, random.poisson(3, n_rows)
    price = area * random.lognormal(8 + 0.1 * zone + 0.2 * new, 0.2)
    heating = np.where(new, 3, random.integers(0, 3, n_rows))
    energy = area * random.lognormal(4 - 0.5 * new, 0.3)
    values = np.array([area, price, floor, energy, rooms, zone, new, heating], dtype=float).T
    names = tuple("area price floor energy rooms zone new heating".split())
    is_code = (False,) * 5 + (True,) * 3
    return Rows(names, values, is_code, ("float64",) * 8, "apartments", f"{seed}")


@pytest.mark.parametrize("n_rows", [20_000, 300])
def test_other_contracts(n_rows):
    """One of numbers of very different scale, one of few rows."""
    detector, _ = train(make_apartments(n_rows, seed=1))
    fresh = make_apartments(16_000, seed=2)
    assert count_alerts(detector, fresh, draw_orders(len(fresh))) <= 60
    delays, fields = detect(detector, fresh, "flip:new")
    assert np.median(delays) <= 30
    assert np.mean([field in ("new", "heating") for field in fields]) > 0.9


def repeat(n_rows, times, clients, length=200_000):
    """Clients in turn, each of which sends every one of its rows so many times in a row."""
    random = np.random.default_rng(times * clients)
    each = -(-length // (times * clients))
    rows = np.array([np.repeat(random.integers(0, n_rows, each), times) for _ in range(clients)])
    return rows.T.ravel()[:length]


def test_clients_that_retry(detector, new):
    """Each request 2, 5 or 20 times, in a row and by 20 and 100 clients, 200,000 requests each."""
    orders = [repeat(len(new), times, n) for times in (2, 5, 20) for n in (1, 20, 100)]
    assert count_alerts(detector, new, orders) == 0


def test_each_request_twice_and_a_flipped_answer(detector, new, monkeypatch):
    usual = np.median(detect(detector, new, "classes-flipped")[0])
    draw = Judge._draw
    doubled = staticmethod(lambda *known, seed: (turn for turn in draw(*known, seed) for _ in "ab"))
    monkeypatch.setattr(Judge, "_draw", doubled)
    twice = np.median(detect(detector, new, "classes-flipped")[0])
    print(f"detected after {usual:.0f} requests, sent twice after {twice:.0f}")
    assert twice <= 2 * usual


def mix(rows, group, hours, random):
    """Draw a row for each hour of the day: a group is asked for more in some hours."""
    odds = np.exp(0.7 * np.cos(2 * np.pi * np.arange(24) / 24))
    column = rows.column(group)
    inside = column < 30 if group == "age" else column == 1
    chosen = np.empty(len(hours), int)
    for hour in range(24):
        weights = np.where(inside, odds[hour], 1.0)
        places = np.flatnonzero(hours == hour)
        chosen[places] = random.choice(len(rows), len(places), p=weights / weights.sum())
    return chosen


def record(rows, group, zone):
    """A log of such traffic, a year of as many rows, whose clock is that of a time zone."""
    random = np.random.default_rng(0)
    seconds = np.sort(random.integers(0, 364 * 86_400, len(rows)))
    chosen = mix(rows, group, seconds // 3600 % 24, random)
    times = MONDAY + seconds + 3600 * zone
    return replace(rows.take(chosen), times=times, is_published=False)


@pytest.mark.parametrize(("group", "zone"), [("age", 0), ("classes", 0), ("sex", 0), ("age", 8)])
def test_traffic_that_follows_the_hour(group, zone, known, new):
    """Two in 1,000,000 requests are allowed, 2,000 an hour; changes are still detected soon."""
    log = record(known, group, zone)
    assert find_drift(log) is None
    detector, _ = train(log)
    for name in ("age-in-months", "sex-flipped", "marital-shuffled"):  # after 5 to 14 without hours
        assert np.median(detect(detector, new, name)[0]) <= 50, name
    random = np.random.default_rng(1)
    hours = np.arange(100_000) // 2000 % 24
    orders = [mix(new, group, hours, random) for _ in range(10)]
    assert count_alerts(detector, new, orders) <= 2
    if group == "classes":  # which one bound for all hours would not hold
        assert count_alerts(train(replace(log, times=None))[0], new, orders) > 2


def test_a_log_that_stands_ten_times_is_as_once(known, new):
    own = replace(known, is_published=False)
    few = own.take(np.arange(0, len(own), 5))
    tenfold = few.take(np.random.default_rng(0).permutation(np.repeat(np.arange(len(few)), 10)))
    orders = draw_orders(len(new), n_streams=200, length=5000)
    once, ten = (count_alerts(train(log)[0], new, orders) for log in (few, tenfold))
    assert ten <= max(once, 1)
