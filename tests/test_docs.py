"""What README.md and docs/ tell their reader to type, and what they say comes of it."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import grpc
import numpy as np
import pytest
import yaml
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from helpers import UNIT, copy_package, make_home, run, served_package

from knn_metric.__main__ import SUBCOMMANDS, make_parser
from knn_metric.data import census
from knn_metric.files import ROOT
from knn_metric.platform.server import PREDICT
from portable_knn import load

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
PLATFORM = (ROOT / "docs" / "platform.md").read_text()
ANOTHER = (ROOT / "docs" / "another-model.md").read_text()
ADDRESS = "127.0.0.1:9090"
LINE = re.compile(r"^ {4,}((?:make|knn-metric|python|cd) .*)$", re.MULTILINE)
# In text: what begins with a subcommand's name, or names an option or a target.
OPTION = re.compile(r"`(--[a-z-]+)[^`]*`")


def name(path):
    return path.name


class TestPages:
    def test_the_readme_is_read_at_once(self):
        assert len(README.read_text().splitlines()) <= 100
        assert sum(len(path.read_text().splitlines()) for path in PAGES) <= 450
        assert [path.stem for path in PAGES] == [
            *("another-model", "detection", "development", "history"),
            *("on-call", "platform", "threshold"),
        ]

    @pytest.mark.parametrize("path", PAGES, ids=name)
    def test_a_page_is_short_and_the_readme_leads_to_it(self, path):
        assert f"(docs/{path.name})" in README.read_text()

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

    def test_the_published_score(self, uci_package):
        detector = load(uci_package[0] / "monitoring_model.joblib")
        (said,) = re.findall(r"^Both print (\S+) with", PLATFORM, re.MULTILINE)
        codes = [[45, 4, 1, 0, 8, 0, 4, 1, 2, 2, 50, 9, 1]]
        assert float(said) == pytest.approx(detector.decision_function(codes)[0], rel=UNIT, abs=0)


class Checkout:
    """A copy of what a clone has to run from, in which lines run as a user types them."""

    def __init__(self, folder, environment):
        self.folder = copy_package(folder)
        programs = f"{os.path.dirname(sys.executable)}:{environment['PATH']}"
        self.environment = {**environment, "PATH": programs}
        ignore = shutil.ignore_patterns("__pycache__", "*.json", "training_data.csv")
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=ignore)

    def run(self, line):
        if line.startswith("cd "):
            self.folder /= line.removeprefix("cd ")
            return subprocess.CompletedProcess(line, 0, "", "")
        words, own = shlex.split(line), {"cwd": self.folder, "env": self.environment}
        return subprocess.run(words, **own, capture_output=True, text=True)


@pytest.mark.slow
class TestReadme:
    def test_its_lines_run(self, uci, hs, manager, tmp_path):
        """All but the demo and the benchmark, in order, on UCI's data and with the real hs."""
        hs, generation = hs
        if generation == 2:
            pytest.skip("once is enough: with hs 3.x")
        environment = make_home(tmp_path, generation, manager.address)
        environment["PATH"] = f"{hs.parent}:{os.environ['PATH']}"
        checkout = Checkout(tmp_path / "checkout", environment)
        git = ["git", "-C", checkout.folder, "-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run([*git[:3], "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "all"], check=True)
        lines = LINE.findall(README.read_text())
        assert lines[0] == "make demo"
        assert lines[-1] == "make bench"
        printed = {}
        lines.remove(
            "knn-metric evaluate --target examples/adult"
        )  # which tests/cli/test_evaluate.py does with UCI's data
        for line in lines[1:-1]:
            if line.startswith("knn-metric watch"):
                self.send_requests(manager, checkout.folder)
            result = checkout.run(line)
            printed[line] = result.stdout
            assert (result.returncode, result.stderr) == (0, ""), line
        assert "threshold_  4.236688464332743" in printed["knn-metric train"]
        assert "4.236688464332743" in README.read_text()
        assert printed["knn-metric watch adult:1"].endswith("ok\n")
        assert [spec["name"] for spec in manager.specs] == ["census_monitoring"]

    def send_requests(self, manager, folder):
        """Let Sonar keep healthy requests, with the metric's scores."""
        (target,) = (one for one in manager.versions if one["model"]["name"] == "adult")
        detector = load(folder / "monitoring_model.joblib")
        values = np.random.default_rng(0).permutation(detector.training_rows_)[:200].astype(int)
        inputs = [dict(zip(census.FEATURES, row, strict=True)) for row in values.tolist()]
        scores = {"census_monitoring": detector.decision_function(values).tolist()}
        thresholds = {"census_monitoring": float(detector.threshold_)}
        manager.sonar.add(target, inputs, scores, thresholds)


def make_customers(n=1500):
    """Return the example's requests: two inputs, and whether the model said that they leave."""
    random = np.random.default_rng(0)
    plan = random.integers(0, 4, n)
    tenure = random.gamma(2, 12, n).round(1)
    return tenure, plan, (20 - tenure - 5 * plan > 0).astype(int)


CHURN = """\
import numpy as np

def predict(**inputs):
    return {"churned": np.int64(20 - inputs["tenure"] - 5 * inputs["plan"] > 0)}
"""


class TestAnotherModel:
    @pytest.fixture
    def inputs(self):
        (block,) = re.findall(r"```yaml\n(  inputs:.*?)```", ANOTHER, re.DOTALL)
        return block

    @pytest.fixture
    def target(self, inputs, tmp_path):
        """The watched model's package, by the page's contract."""
        fields = yaml.safe_load(inputs)["inputs"]
        outputs = {"churned": fields.pop("churned")}
        contract = {"name": "predict", "inputs": fields, "outputs": outputs}
        runtime = "hydrosphere/serving-runtime-python-3.7:2.4.3"
        package = {"name": "churn", "runtime": runtime, "payload": ["src/"], "contract": contract}
        folder = tmp_path / "churn"
        (folder / "src").mkdir(parents=True)
        (folder / "serving.yaml").write_text(yaml.safe_dump(package, sort_keys=False))
        (folder / "src" / "func_main.py").write_text(CHURN)
        return folder

    def test_the_contract_is_what_new_writes(self, inputs, target, tmp_path):
        assert run("new", tmp_path / "written", "--for", target).status == 0
        assert inputs in (tmp_path / "written" / "serving.yaml").read_text()

    @pytest.mark.slow
    def test_its_lines_run(self, inputs, target, manager, tmp_path):
        """From the contract to a detected change, as far as no upload is needed."""
        checkout = Checkout(tmp_path / "checkout", make_home(tmp_path, 3, manager.address))
        header = ",".join(yaml.safe_load(inputs)["inputs"])
        rows = [",".join(map(str, row)) for row in zip(*make_customers(), strict=True)]
        printed = {}
        for line in LINE.findall(ANOTHER):
            if re.search("knn-metric (upload|attach|watch)", line):
                continue
            line = line.replace("--for churn:3", f"--for {target}")
            result = checkout.run(line.replace("path/to/package", str(target)))
            assert (result.returncode, result.stderr) == (0, ""), line
            printed[shlex.split(line)[1]] = result.stdout
            (checkout.folder / "requests.csv").write_text("\n".join([header, *rows]))
        assert {"new", "train", "check", "explain", "evaluate", "replay"} <= printed.keys()
        assert "alarm at threshold" in printed["explain"]
        assert "change detected at request 3" in printed["replay"]
        assert printed["replay"].splitlines()[-1].startswith("tenure: ")
