"""What README.md and docs/ tell their reader to type, and what they say comes of it."""

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest
import yaml
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from helpers import (
    METRIC,
    UNIT,
    attach,
    commit,
    make_home,
    run,
    served_package,
    train_adult,
    write_model,
)
from pyarrow import csv, parquet

from knn_metric.__main__ import SUBCOMMANDS, make_parser
from knn_metric.contract import Contract
from knn_metric.data.rows import load_census
from knn_metric.files import ROOT
from knn_metric.live import monitor
from knn_metric.platform import metrics
from knn_metric.platform.metrics import describe_artifact
from knn_metric.platform.server import PREDICT
from portable_knn import load

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
PLATFORM = (ROOT / "docs" / "platform.md").read_text()
(CONTRACT,) = re.findall(
    r"```yaml\n(  inputs:.*?)```", (ROOT / "docs" / "another-model.md").read_text(), re.DOTALL
)
ADDRESS = "127.0.0.1:9090"
LINE = re.compile(r"^ {4,}((?:make|knn-metric|python|cd) .*)$", re.MULTILINE)
# In text: what begins with a subcommand's name, or names an option or a target.
OPTION = re.compile(r"`(--[a-z-]+)[^`]*`")


def name(path):
    return path.name


class TestPages:
    def test_the_readme_is_read_at_once_and_leads_to_pages(self):
        assert len(README.read_text().splitlines()) <= 100
        assert sum(len(path.read_text().splitlines()) for path in PAGES) <= 450
        assert [path.stem for path in PAGES] == [
            *("another-model", "detection", "development", "history"),
            *("on-call", "platform", "threshold"),
        ]
        assert all(f"(docs/{path.name})" in README.read_text() for path in PAGES)

    @pytest.mark.parametrize("path", [README, *PAGES], ids=name)
    def test_links_lead_somewhere(self, path):
        text = path.read_text()
        for link in re.findall(r"\]\((?!http)([^)]*)\)", text):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), link
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M) if anchor else []
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert not anchor or anchor in anchors, link
        for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
            assert (path.parent / picture).read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize("path", [README, *PAGES], ids=name)
    def test_every_command_line_is_taken(self, path):
        """By the parser as it is written; options in the text are those of some subcommand."""
        text = path.read_text()
        for line in LINE.findall(text):
            program, *words = shlex.split(line)
            if program == "knn-metric":
                make_parser(words[0]).parse_args(words)
            elif program == "make":
                assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M), line
            elif program == "python":
                assert (ROOT / words[0]).exists(), line
        known = " ".join(
            run(name, "--help").out for names in SUBCOMMANDS.values() for name in names
        )
        assert set(OPTION.findall(text)) <= set(re.findall("--[a-z-]+", known))


@pytest.fixture
def served(package, monkeypatch):
    monkeypatch.chdir(ROOT)
    with served_package(package) as address:
        yield address


@pytest.fixture
def expected(func_main):
    codes = (45, 4, 1, 0, 8, 0, 4, 1, 2, 2, 50, 9, 1)
    return func_main.predict(**dict(zip(func_main.features, codes, strict=True)))["value"]


class TestClients:
    def test_the_python_client(self, served, expected, capsys):
        (program,) = re.findall(r"<<'END'\n(import grpc.*?)\nEND", PLATFORM, re.DOTALL)
        exec(program.replace(ADDRESS, served), {})
        assert float(capsys.readouterr().out) == expected

    def test_the_grpcurl_line(self, served, expected):
        """What grpcurl does: ask the server what the method takes, and send the JSON as that."""
        line = re.search(r"^grpcurl .*$", PLATFORM, re.MULTILINE)[0].split()
        assert [*line[:5], line[6]] == ["grpcurl", "-plaintext", "-d", "@", ADDRESS, "<"]
        method, path = line[5], line[7]
        assert f"/{method}" == PREDICT
        with grpc.insecure_channel(served) as channel:
            pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            described = pool.FindMethodByName(method.replace("/", "."))
            kinds = [
                message_factory.MessageFactory(pool).GetPrototype(kind)
                for kind in (described.input_type, described.output_type)
            ]
            request = json_format.Parse((ROOT / path).read_text(), kinds[0]())
            call = channel.unary_unary(PREDICT, kinds[0].SerializeToString, kinds[1].FromString)
            assert list(call(request).outputs["value"].double_val) == [expected]

    def test_the_published_score(self, uci_detector):
        (said,) = re.findall(r"^Both print (\S+) with", PLATFORM, re.MULTILINE)
        (score,) = uci_detector.decision_function([[45, 4, 1, 0, 8, 0, 4, 1, 2, 2, 50, 9, 1]])
        assert float(said) == pytest.approx(score, rel=UNIT, abs=0)


CHURN = """\
import numpy as np

def predict(**inputs):
    return {"churned": np.int64(20 - inputs["tenure"] - 5 * inputs["plan"] > 0)}
"""


@pytest.fixture
def churn(tmp_path):
    """The package of the model that a page watches, by that page's contract."""
    return write_model(tmp_path / "churn", "churn", yaml.safe_load(CONTRACT)["inputs"], CHURN)


def test_the_contract_is_what_new_writes(churn, tmp_path):
    assert run("new", tmp_path / "written", "--for", churn).status == 0
    assert CONTRACT in (tmp_path / "written" / "serving.yaml").read_text()


@pytest.fixture(scope="module")
def uci_adult(uci, tmp_path_factory):
    return train_adult(tmp_path_factory.mktemp("adult") / "adult", uci)


@pytest.fixture
def checkout(uci_package, uci_adult, churn, tmp_path, monkeypatch):
    """The working folder: this package, the models that the pages watch, and their requests."""
    folder = shutil.copytree(uci_package[0], tmp_path / "checkout")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=lambda *_: ["adult"])
    for path in ("examples/adult", "path/to/model"):
        shutil.copytree(uci_adult, folder / path)
    shutil.copy(ROOT / "examples" / "adult" / "train.py", folder / "examples" / "adult")
    for path in ("path/to/churn", "path/to/package"):
        shutil.copytree(churn, folder / path)
    random = np.random.default_rng(0)
    plan, tenure = random.integers(0, 4, 1500), random.gamma(2, 12, 1500).round(1)
    churned = (20 - tenure - 5 * plan > 0).astype(int)
    customers = pa.table({"tenure": tenure, "plan": plan, "churned": churned})
    csv.write_csv(customers, folder / "requests.csv")
    known = load_census("sample")
    columns = dict(zip(known.names, known.values.astype(int).T, strict=True))
    requests = pa.table(columns | {"_hs_timestamp": 1000 * (1_700_000_000 + 60 * np.arange(7000))})
    parquet.write_table(requests, folder / "requests.parquet")
    (folder / "requests.json").write_text("\n".join(map(json.dumps, requests.to_pylist())))
    monkeypatch.chdir(commit(folder))


@pytest.fixture
def platform(checkout, manager, monkeypatch):
    """A stub of the platform: two models, this metric attached to one, no time between looks."""
    monkeypatch.setattr(metrics, "PAUSE", 0)
    monkeypatch.setattr(monitor, "LEAST_SILENCE", math.inf)
    for name, number, folder in (("adult", 1, "examples/adult"), ("churn", 3, "path/to/churn")):
        signature, contract = {"signatureName": "predict"}, Contract.read(Path(folder))
        for side in ("inputs", "outputs"):
            signature[side] = [
                {"name": field.name, "dtype": f"DT_{field.type.upper()}", "shape": {"dims": []}}
                | {"profile": field.profile.upper()}
                for field in getattr(contract, side)
            ]
        manager.add_version(name, number, modelSignature=signature)
    detector = load("monitoring_model.joblib")
    manager.add_version(METRIC, 1, metadata=describe_artifact(Path(), detector))
    attach(manager, METRIC, float(detector.threshold_), 13)
    manager.scorer = score
    return manager


def find_metric(names):
    """Return the name and the detector of the package whose fields these are."""
    folders = [one for one in (Path(), Path("churn-metric")) if (one / "serving.yaml").exists()]
    contracts = {folder: Contract.read(folder) for folder in folders}
    folder = next(one for one in folders if {*contracts[one].input_names} == {*names})
    return contracts[folder].name, load(folder / "monitoring_model.joblib")


def score(inputs):
    return find_metric(inputs)[1].decision_function([list(inputs.values())])[0]


def let_requests_arrive(manager, target):
    """Let Sonar keep healthy requests of a model, with the scores of its metric."""
    if target.startswith("churn"):
        version, table = manager.versions[1], csv.read_csv("requests.csv")
    else:
        version, table = manager.versions[0], parquet.read_table("requests.parquet")
        table = table.drop_columns("_hs_timestamp")
    rows, (name, detector) = table.slice(0, 300), find_metric(table.column_names)
    values = np.array([column.to_numpy() for column in rows.columns]).T
    scores = detector.decision_function(values).tolist()
    manager.sonar.add(version, rows.to_pylist(), {name: scores}, {name: float(detector.threshold_)})


@pytest.mark.slow
@pytest.mark.parametrize("path", [README, *PAGES], ids=name)
@pytest.mark.parametrize("hs", [3], indirect=True, ids=[""])
def test_its_lines_run(path, uci_package, hs, platform, uci_adult, tmp_path, monkeypatch):
    """In the order of the page, on UCI's data and with the real hs; make and containers aside."""
    from distributed import LocalCluster

    environment = make_home(tmp_path, 3, platform.address)
    programs = f"{hs[0].parent}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("HOME", environment["HOME"])
    with contextlib.ExitStack() as stack:
        known = {
            "127.0.0.1:9091": lambda: stack.enter_context(served_package(uci_package[0])),
            "127.0.0.1:9092": lambda: stack.enter_context(served_package(uci_adult)),
            "tcp://HOST:8786": lambda: stack.enter_context(LocalCluster(1)).scheduler_address,
        }
        for line in LINE.findall(path.read_text()):
            for address, begin in known.items():
                line = line.replace(address, begin()) if address in line else line
            run_line(platform, *shlex.split(line))


def run_line(manager, program, *words):
    if program == "cd":
        folder = Path.cwd()
        os.chdir(words[0])
        for link in ("path", "requests.csv"):
            Path(link).symlink_to(folder / link)
    elif program == "python":
        subprocess.run([sys.executable, *words], check=True)
    elif program == "knn-metric":
        if words[0] == "watch" and not manager.sonar.documents:
            let_requests_arrive(manager, words[1])
        result = run(*words)
        assert (result.status, result.err) == (0, ""), (words, result)
