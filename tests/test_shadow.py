"""scripts/shadow.py, alarms.py, drift.py and evaluate.py, over the real local runtimes."""

import csv
import re
import signal
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from conftest import ROOT, assert_one_line, import_function, run_script
from hydro_serving_grpc.serving.contract.tensor_pb2 import Tensor, TensorShape
from test_serve import serving

import alarms
import census
import drift
import evaluate
import serve
import shadow

PNG = b"\x89PNG\r\n"
COLUMN = drift.COLUMN


@pytest.fixture(scope="module")
def addresses(package, adult):
    """Both models, served for the whole module: the metric's address and the target's."""
    with serving(package) as metric, serving(adult) as target:
        yield f"127.0.0.1:{metric.port}", f"127.0.0.1:{target.port}"


@pytest.fixture
def replay(package, addresses, tmp_path):
    """Return a function that replays the sample through both models, and the files it writes."""

    def replay(*options):
        where = ("--metric", addresses[0], "--target", addresses[1], "--reports", tmp_path)
        own = ("--data", "sample", "--artifact", package / "monitoring_model.joblib")
        return run_script("shadow.py", *own, *where, *options)

    return replay


def read_csv(folder):
    with (folder / "shadow.csv").open() as file:
        return list(csv.DictReader(file))


def read_codes(lines):
    return np.array([[int(line[name]) for name in census.FEATURES] for line in lines])


class TestReplay:
    def test_values_equal_direct_calls(self, replay, func_main, tmp_path):
        result = replay("--rows", 300, "--drift", "age-in-months@200", "--concurrency", 8)
        assert result.returncode == 0, result.stderr
        lines = read_csv(tmp_path)
        values = np.array([float(line["value"]) for line in lines])
        expected = func_main.detector.decision_function(read_codes(lines))
        np.testing.assert_array_equal(values, expected)
        assert [int(line["row"]) for line in lines] == list(range(300))
        threshold = func_main.detector.threshold_
        assert [line["result"] == "alarm" for line in lines] == list(values > threshold)
        assert [line["drift"] for line in lines] == [""] * 200 + ["age-in-months"] * 100

    def test_the_table_counts_what_the_file_holds(self, replay, tmp_path):
        table = replay("--rows", 300, "--drift", "age-missing@150").stdout
        lines = read_csv(tmp_path)
        counted = dict(re.findall(r"^(requests|passed|alarm) +(\d+)$", table, re.MULTILINE))
        for name in ("passed", "alarm"):
            assert int(counted[name]) == sum(line["result"] == name for line in lines)
        assert int(counted["requests"]) == 300
        assert "100.00%  since age-missing at request 150" in table
        assert re.search(r"^target( +\d+\.\d\d){3}$", table, re.MULTILINE)
        assert re.search(r"^metric( +\d+\.\d\d){3}$", table, re.MULTILINE)
        assert (tmp_path / "shadow.png").read_bytes().startswith(PNG)

    def test_the_target_answers_what_the_metric_gets(self, replay, tmp_path):
        replay("--rows", 100)
        plain = read_codes(read_csv(tmp_path))
        replay("--rows", 100, "--drift", "classes-flipped@40")
        flipped = read_codes(read_csv(tmp_path))
        np.testing.assert_array_equal(plain[:, :-1], flipped[:, :-1])
        np.testing.assert_array_equal(plain[:40], flipped[:40])
        np.testing.assert_array_equal(plain[40:, -1], 1 - flipped[40:, -1])

    def test_the_seed_orders_the_rows(self, replay, tmp_path):
        replays = []
        for seed in (1, 1, 2):
            replay("--rows", 50, "--seed", seed)
            replays.append(read_codes(read_csv(tmp_path)))
        np.testing.assert_array_equal(replays[0], replays[1])
        assert (replays[0] != replays[2]).any()

    def test_the_rate_is_kept(self, replay):
        start = time.monotonic()
        replay("--rows", 50, "--rate", 25)
        assert time.monotonic() - start >= 49 / 25

    def test_local_runtimes(self, package, adult, tmp_path):
        options = ("--metric", package, "--target", adult, "--rows", 20, "--data", "sample")
        result = run_script("shadow.py", *options, "--reports", tmp_path)
        assert result.returncode == 0, result.stderr
        assert len(read_csv(tmp_path)) == 20

    def test_a_rejected_message(self, adult, package, tmp_path):
        """A target whose answer is another dtype than the metric's contract says."""
        target = tmp_path / "target"
        (target / "src").mkdir(parents=True)
        (target / "serving.yaml").write_text((adult / "serving.yaml").read_text())
        (target / "src" / "func_main.py").write_text(
            "def predict(**inputs):\n    return {'classes': 0.5, 'confidence': 0.9}\n"
        )
        options = ("--data", "sample", "--metric", package, "--target", target, "--rows", 10)
        result = run_script("shadow.py", *options, "--reports", tmp_path)
        assert "rejected" in result.stdout
        assert "Expected DT_INT64 data type, got DT_DOUBLE" in result.stdout
        assert {line["result"] for line in read_csv(tmp_path)} == {"rejected"}

    def test_a_value_under_another_name_never_alarms(self, adult, package, tmp_path):
        """As sonar has it: 0.0 where `value` is absent, or not a double."""
        metric = tmp_path / "metric"
        (metric / "src").mkdir(parents=True)
        (metric / "serving.yaml").write_text((package / "serving.yaml").read_text())
        (metric / "src" / "func_main.py").write_text(
            "import numpy as np\n"
            "def predict(**inputs):\n"
            "    return {'score': 99.0, 'value': np.float32(99)}\n"
        )
        artifact = package / "monitoring_model.joblib"
        options = ("--data", "sample", "--metric", metric, "--target", adult, "--rows", 10)
        run_script("shadow.py", *options, "--artifact", artifact, "--reports", tmp_path)
        lines = read_csv(tmp_path)
        assert {(float(line["value"]), line["result"]) for line in lines} == {(0.0, "passed")}


class TestInterruption:
    """A replay that would take a minute, ended after its twentieth request."""

    @pytest.fixture
    def slow_replay(self, package, adult, tmp_path):
        """Start it; yield its process, the metric's, and the metric's address."""
        answered = threading.Semaphore(0)
        predict = import_function(adult).predict

        def count_and_predict(**inputs):
            answered.release()
            return predict(**inputs)

        target, port = serve.start(count_and_predict, "127.0.0.1:0")
        with serving(package) as metric:
            address = f"127.0.0.1:{metric.port}"
            where = ["--metric", address, "--target", f"127.0.0.1:{port}", "--reports", tmp_path]
            artifact = ["--artifact", package / "monitoring_model.joblib"]
            options = ["--rows", "3000", "--rate", "50", "--data", "sample", *where, *artifact]
            command = [sys.executable, ROOT / "scripts" / "shadow.py", *options]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            with subprocess.Popen(command, **pipes) as process:
                for _ in range(20):
                    assert answered.acquire(timeout=60)
                yield process, metric.process, address
        target.stop(0).wait()

    def test_a_killed_runtime(self, slow_replay, tmp_path):
        process, metric, address = slow_replay
        metric.kill()
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 2, errors
        (line,) = errors.splitlines()
        assert f"shadow.py: the metric at {address} does not answer any more" in line
        lines = read_csv(tmp_path)
        assert 0 < len(lines) < 3000
        assert f"after {len(lines)} requests" in line
        assert f"requests    {len(lines):>8}" in output

    def test_ctrl_c(self, slow_replay, tmp_path):
        process, _, _ = slow_replay
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert errors == ""
        lines = read_csv(tmp_path)
        assert 0 < len(lines) < 3000
        assert f"requests    {len(lines):>8}" in output


FIELDS = {
    "age": {"shape": "scalar", "type": "int64"},
    "value": {"shape": [2], "type": "double"},
}
AGE = Tensor(dtype=9, int64_val=[1])
VALUE = Tensor(dtype=2, tensor_shape=TensorShape(dims=[2]), double_val=[1, 2])


class TestValidate:
    def test_extra_fields_are_dropped(self):
        tensors = {"age": AGE, "value": VALUE, "other": AGE}
        accepted, reason = shadow.validate(tensors, FIELDS)
        assert accepted == {"age": AGE, "value": VALUE}
        assert reason == ""

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"age": None}, "Missing field age"),
            ({"age": Tensor(dtype=1)}, "Expected DT_INT64 data type, got DT_FLOAT"),
            ({"age": Tensor(dtype=99)}, "Expected DT_INT64 data type, got 99"),
            (
                {"age": Tensor(dtype=9, tensor_shape=TensorShape(dims=[1]))},
                "Expected [] shape, got [1]",
            ),
            ({"value": Tensor(dtype=2)}, "Expected [2] shape, got []"),
            ({"age": None, "value": None}, "Missing field age; Missing field value"),
        ],
    )
    def test_reasons(self, changes, reason):
        tensors = {"age": AGE, "value": VALUE, **changes}
        tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        assert shadow.validate(tensors, FIELDS)[1] == reason


class TestBadOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--drift age-in-months", "--drift: expected NAME@ROW"),
            ("--drift age@5", "--drift: expected NAME@ROW"),
            ("--rows 0", "--rows and --concurrency must be at least 1"),
            ("--rate -1", "--rate and --seed at least 0"),
        ],
    )
    def test_usage(self, replay, options, words):
        result = replay(*options.split())
        assert result.returncode == 2
        assert words in result.stderr.splitlines()[-1]

    def test_no_artifact(self, replay, tmp_path):
        assert_one_line(replay("--artifact", tmp_path / "none"), "cannot load", "make train")

    def test_no_runtime(self, replay):
        result = replay("--metric", "127.0.0.1:1", "--artifact", "none")
        assert_one_line(result, "cannot load none")


class TestAlarms:
    def test_another_threshold(self, replay, tmp_path):
        replay("--rows", 200)
        lines = read_csv(tmp_path)
        options = ("--checks", tmp_path / "shadow.csv", "--plot", tmp_path / "again.png")
        result = run_script("alarms.py", 2, *options)
        expected = sum(float(line["value"]) > 2 for line in lines)
        assert re.search(rf"^alarm +{expected}$", result.stdout, re.MULTILINE)
        assert (tmp_path / "again.png").read_bytes().startswith(PNG)

    def test_checks_come_back_as_written(self, tmp_path):
        sent = dict.fromkeys(census.FEATURES, 7)
        checks = [
            alarms.Check(0, "", sent, 1.5, "passed", "", 1.0, 2.0),
            alarms.Check(1, "age-missing", sent, 9.5, "alarm", "", 1.0, 2.0),
            alarms.Check(2, "", {"age": 1}, reason="Missing field race", result="rejected"),
        ]
        alarms.write_checks(checks, tmp_path / "checks.csv")
        again = alarms.read_checks(tmp_path / "checks.csv", 5)
        assert repr(again) == repr(checks)
        alarms.plot(checks, 5, tmp_path / "checks.png")

    def test_nothing_checked(self, tmp_path):
        alarms.plot([], 5, tmp_path / "none.png")
        assert "requests           0" in alarms.report([])

    def test_bad_files(self, tmp_path):
        assert_one_line(run_script("alarms.py", 2, "--checks", tmp_path / "none"), "No such file")
        (tmp_path / "other.csv").write_text("a,b\n1,2\n")
        result = run_script("alarms.py", 2, "--checks", tmp_path / "other.csv")
        assert_one_line(result, "is not of shadow.py's making")


@pytest.fixture(scope="module")
def records():
    return census.load("sample").records


class TestDrift:
    @pytest.mark.parametrize("name", drift.DRIFTS)
    def test_only_its_own_columns_change(self, name, rows, records):
        columns = {
            "age-in-months": ["age"],
            "hours-per-month": ["hours_per_week"],
            "age-missing": ["age"],
            "age-hours-swapped": ["age", "hours_per_week"],
            "country-shuffled": ["country"],
            "gain-in-dollars": ["capital_gain"],
            "classes-flipped": ["classes"],
        }[name]
        before = rows.copy()
        after = drift.corrupt(name, rows, records)
        changed = (after != rows).any(axis=0)
        assert [f for f, c in zip(census.FEATURES, changed, strict=True) if c] == columns
        assert after.dtype == np.int64
        np.testing.assert_array_equal(rows, before)

    def test_values(self, rows, records):
        row, record = rows[:1], records[:1]
        age, hours = row[0, COLUMN["age"]], row[0, COLUMN["hours_per_week"]]

        def get(name, column):
            return drift.corrupt(name, row, record)[0, COLUMN[column]]

        assert get("age-in-months", "age") == 12 * age
        assert get("hours-per-month", "hours_per_week") == round(hours * 52 / 12)
        assert get("age-missing", "age") == 0
        assert get("age-hours-swapped", "age") == hours
        assert get("age-hours-swapped", "hours_per_week") == age
        gain = int(record[0][census.COLUMNS.index("capital_gain")])
        assert get("gain-in-dollars", "capital_gain") == gain
        assert get("classes-flipped", "classes") == 1 - row[0, COLUMN["classes"]]

    def test_it_prints_rows(self):
        result = run_script("drift.py", "age-in-months", "--data", "sample", "--rows", 2)
        assert result.returncode == 0
        assert len(result.stdout.splitlines()) == 3


class TestEvaluate:
    def test_figures_on_uci(self, uci_package, uci, tmp_path):
        artifact = uci_package[0] / "monitoring_model.joblib"
        plot = tmp_path / "evaluation.png"
        result = run_script("evaluate.py", "--data", uci, "--artifact", artifact, "--plot", plot)
        assert result.returncode == 0, result.stderr
        rates = dict(re.findall(r"^(\S+) +(\d+\.\d\d)%", result.stdout, re.MULTILINE))
        expected = {
            "clean": 5.14,
            "age-in-months": 100,
            "hours-per-month": 96.6,
            "age-missing": 100,
            "age-hours-swapped": 9.9,
            "classes-flipped": 5.1,
        }
        for name, rate in expected.items():
            assert float(rates[name]) == pytest.approx(rate, abs=0.05)
        assert "rows           6513" in result.stdout
        assert "4.63% to 5.71%" in result.stdout
        assert plot.read_bytes().startswith(PNG)

    def test_own_rows_are_the_held_out_ones(self, package):
        detector = joblib.load(package / "monitoring_model.joblib")
        data = census.load("sample")
        unseen = census.find_unseen(data, detector.origin_)
        np.testing.assert_array_equal(unseen, census.split(np.arange(7000))[1])
        other = {**detector.origin_, "seed": 3, "test_size": 0.5}
        np.testing.assert_array_equal(
            census.find_unseen(data, other), census.split(np.arange(7000), 0.5, 3)[1]
        )
        assert len(census.find_unseen(data, {**other, "sha256": "another file's"})) == 7000

    @pytest.mark.parametrize(
        ("share", "count", "interval"),
        [(0.0, 10, (0.0, 0.2775)), (0.5, 10, (0.2366, 0.7634)), (1.0, 10, (0.7225, 1.0))],
    )
    def test_interval_is_wilsons(self, share, count, interval):
        assert evaluate.find_interval(share, count) == pytest.approx(interval, abs=1e-4)

    def test_no_artifact(self, tmp_path):
        result = run_script("evaluate.py", "--artifact", tmp_path / "none")
        assert_one_line(result, "cannot load", "make train")
