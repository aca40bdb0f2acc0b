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
from helpers import UNIT, load_script, make_home, run, served_package

from monitoring.data import adult
from monitoring.files import ROOT
from monitoring.hydrosphere.server import PREDICT
from portable_knn import load

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
PLATFORM = (ROOT / "docs" / "platform.md").read_text()
ANOTHER = (ROOT / "docs" / "another-model.md").read_text()
ADDRESS = "127.0.0.1:9090"
LINE = re.compile(r"^ {4,}(make .*)$", re.MULTILINE)


def name(path):
    return path.name


def find_script(target):
    """Return the script that a make target runs."""
    dry = ["make", "--dry-run", target]
    recipe = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return re.search(r"((?:scripts|benchmarks)\}?/\w+\.py)", recipe)[1].replace("}", "")


class TestPages:
    def test_the_readme_is_read_at_once(self):
        assert len(README.read_text().splitlines()) <= 130
        assert [path.stem for path in PAGES] == [
            *("another-model", "detection", "development", "history"),
            *("on-call", "platform", "threshold"),
        ]

    @pytest.mark.parametrize("path", PAGES, ids=name)
    def test_a_page_is_short_and_the_readme_leads_to_it(self, path):
        assert len(path.read_text().splitlines()) < 120
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
    def test_every_command_line_exists(self, path):
        """Each names a target, whose script takes its variables."""
        for line in LINE.findall(path.read_text()):
            words = shlex.split(line)[1:]
            names = [word.partition("=")[0] for word in words if "=" in word]
            targets = [word for word in words if "=" not in word]
            for target in targets:
                makefile = (ROOT / "Makefile").read_text()
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
            if names:
                (target,) = targets
                described = run(load_script(ROOT / find_script(target)).main, "--help").out
            for one in set(names) - {"MODEL"}:
                option = one.lower().replace("_", "-")
                assert re.search(rf"--{option}\b|\b{one}\b", described), line


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
    """A copy of what is committed, in which command lines run as make runs them."""

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        for part in ("scripts", "src", "data", "examples"):
            ignore = shutil.ignore_patterns("__pycache__", "*.json", "training_data.csv")
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        for part in ("serving.yaml", "requirements.txt"):
            shutil.copy(ROOT / part, folder)

    def run(self, line):
        _, target, *variables = shlex.split(line)
        given = dict(variable.split("=", 1) for variable in variables)
        script = find_script(target)
        if target == "train" and "MODEL" in given:
            script = f"{given.pop('MODEL')}/train.py"
        made = {"MAKE_TARGET": target, "MAKE_GIVEN": " ".join(given), **given}
        return subprocess.run(
            [sys.executable, script],
            cwd=self.folder,
            env={**self.environment, **made},
            capture_output=True,
            text=True,
        )


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
        lines.remove("make evaluate")  # which tests/cli/test_evaluate.py does with UCI's data
        for line in lines[1:-1]:
            if line.startswith("make watch"):
                self.send_requests(manager, checkout.folder)
            result = checkout.run(line)
            printed[line] = result.stdout
            assert (result.returncode, result.stderr) == (0, ""), line
        assert "threshold_  4.236688464332743" in printed["make train"]
        assert "4.236688464332743" in README.read_text()
        assert printed["make watch TARGET=adult:1"].endswith("ok\n")
        assert [spec["name"] for spec in manager.specs] == ["census_monitoring"]

    def send_requests(self, manager, folder):
        """Let Sonar keep healthy requests, with the metric's scores."""
        (target,) = (one for one in manager.versions if one["model"]["name"] == "adult")
        detector = load(folder / "monitoring_model.joblib")
        values = np.random.default_rng(0).permutation(detector.training_rows_)[:200].astype(int)
        inputs = [dict(zip(adult.FEATURES, row, strict=True)) for row in values.tolist()]
        scores = {"census_monitoring": detector.decision_function(values).tolist()}
        thresholds = {"census_monitoring": float(detector.threshold_)}
        manager.sonar.add(target, inputs, scores, thresholds)


def make_customers(n=1500):
    """Return the example's requests: eight inputs, and whether the model said that they leave."""
    random = np.random.default_rng(0)
    plan, region, device = (random.integers(0, most, n) for most in (4, 6, 3))
    tenure = random.gamma(2, 12, n).round(1)
    monthly = (20 + 15 * plan + random.normal(0, 5, n)).round(2)
    total = (tenure * monthly * random.uniform(0.9, 1.1, n)).round(2)
    calls = random.poisson(2, n)
    usage = (random.gamma(3, 4, n) + 3 * device).round(2)
    churned = (calls - 0.05 * tenure - 0.5 * device > 1).astype(int)
    return tenure, monthly, total, calls, usage, plan, region, device, churned


CHURN = """\
import numpy as np

def predict(**inputs):
    risk = inputs["calls"] - 0.05 * inputs["tenure"] - 0.5 * inputs["device"]
    return {"churned": np.int64(risk > 1)}
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

    def test_the_contract_is_what_make_prints(self, inputs, target):
        result = run(load_script(ROOT / "scripts" / "contract.py").main, "--from", target)
        assert (result.status, result.out) == (0, inputs)

    @pytest.mark.slow
    def test_its_lines_run(self, inputs, target, manager, tmp_path):
        """From the contract to a detected change, as far as no upload is needed."""
        environment = make_home(tmp_path, 3, manager.address)
        checkout = Checkout(tmp_path / "checkout", environment)
        path = checkout.folder / "serving.yaml"
        text = re.sub(r"  inputs:.*(?=  outputs:)", inputs, path.read_text(), flags=re.DOTALL)
        path.write_text(text.replace("name: census_monitoring", "name: churn_monitoring"))
        (header,) = re.findall(r"```csv\n(.*)\n", ANOTHER)
        rows = [",".join(map(str, row)) for row in zip(*make_customers(), strict=True)]
        (checkout.folder / "requests.csv").write_text("\n".join([header, *rows]))
        printed = {}
        for line in LINE.findall(ANOTHER):
            if re.search("make (upload|metric|watch)|TARGET=churn:3", line):
                continue
            line = line.replace("path/to/package", str(target))
            result = checkout.run(line)
            assert (result.returncode, result.stderr) == (0, ""), line
            printed[shlex.split(line)[1]] = result.stdout
        assert {"train", "check", "explain", "evaluate", "shadow"} == printed.keys()
        assert "alarm at threshold" in printed["explain"]
        assert "change detected at request 3" in printed["shadow"]
        assert printed["shadow"].splitlines()[-1].startswith("tenure: ")
