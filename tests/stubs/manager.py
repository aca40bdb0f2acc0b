"""A manager, gateway and sonar on loopback that answer as the released ones do."""

import contextlib
import email
import io
import json
import re
import tarfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stubs.sonar import Sonar

STARTING = "Initialization"
EVENTS = b"event: Log\ndata: Step 1/4 : FROM runtime\n\nevent: EndOfStream\ndata: \n\n"
OPERATORS = "Eq NotEq Greater Less GreaterEq LessEq".split()
JSON, TEXT = "application/json", "text/plain; charset=UTF-8"


class Manager(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.generation = 3
        self.uploads = []
        self.versions = []
        self.specs = []
        self.deployments = []
        self.training_data = {}
        self.alerts = []  # that Alertmanager was sent
        self.sonar = Sonar()
        self.servables = {}  # by a metric's id; what was posted starts, and serves when asked again
        self.instead = {}  # by the beginning of "GET /path": status, content type, body, its length
        self.redirects = {}  # by method: where it is sent to
        self.drips = threading.Event()  # set, an answer never ends
        self.keeps = True  # the metrics that are created
        self.starting = STARTING  # why it has not: whatever else it is, it never serves
        self.scorer = lambda inputs: None  # what every servable answers; None: there is none
        self.lost = set()  # metrics whose container is gone: deleted, and answered with 500

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def add_version(self, name, number, **others):
        version = {
            "id": len(self.versions) + 11,
            "model": {"id": 1, "name": name},
            "modelVersion": number,
            "status": "Released",
            "metadata": {},
            "monitoringConfiguration": {"batchSize": 100},
            **others,
        }
        self.versions.append(version)
        return version

    def fail(self, beginning, status):
        self.instead[beginning] = (status, JSON, b"null")


@contextmanager
def running():
    with Manager() as manager:
        threading.Thread(target=manager.serve_forever, args=(0.01,)).start()
        try:
            yield manager
        finally:
            manager.shutdown()


class Refusal(Exception):
    """What is answered, and how, where something is not there or malformed."""

    def __init__(self, status, content, kind=JSON):
        super().__init__(status, kind, write(content))


class Handler(BaseHTTPRequestHandler):
    def respond(self):
        body = b"".join(self.read_body()) if self.command == "POST" else b""
        self.send(*self.find_answer(f"{self.command} {self.path}", body))

    do_GET = do_POST = do_DELETE = respond

    def find_answer(self, request, body):
        for beginning, answer in self.server.instead.items():
            if request.startswith(beginning):
                return answer
        if self.command in self.server.redirects:
            return 302, JSON, b"null"
        for pattern, answer in ANSWERS.items():
            if match := re.fullmatch(pattern, request):
                try:
                    content = answer(self.server, body, *match.groups())
                except Refusal as refusal:
                    return refusal.args
                kind = "text/event-stream" if isinstance(content, bytes) else JSON
                return 200, kind, write(content)
        return 404, TEXT, b"could not be found"

    def read_body(self):
        """Yield what was posted: whole, or in chunks as hs sends training data."""
        self.server.posted_as = self.headers["Content-Type"]
        if "Content-Length" in self.headers:
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while chunk := self.rfile.read(int(self.rfile.readline(), 16) + 2)[:-2]:
            yield chunk

    def send(self, status, kind, content, length=None):
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.redirects[self.command] + self.path)
        self.send_header("Content-Type", kind)
        promised = 2**30 if self.server.drips.is_set() else length or len(content)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        with contextlib.suppress(OSError):  # the reader leaves
            while self.server.drips.is_set():
                self.wfile.write(b" ")
                time.sleep(0.02)
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def write(content):
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def keep(where, body):
    where.append(json.loads(body))
    return where[-1]


def get_version(manager, _, name, number):
    for version in manager.versions:
        if (version["model"]["name"], version["modelVersion"]) == (name, int(number)):
            return version
    raise Refusal(404, {"message": f"Can't find {name}:{number}", "error": "NotFound"})


def take_upload(manager, body):
    head = f"Content-Type: {manager.posted_as}\r\n\r\n".encode()
    parts = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in email.message_from_bytes(head + body).get_payload()
    }
    sent = json.loads(parts["metadata"])
    with tarfile.open(fileobj=io.BytesIO(parts["payload"])) as tar:
        members = [member for member in tar if member.isfile()]
        files = {member.name: tar.extractfile(member).read() for member in members}
    modes = {member.name: member.mode for member in members}
    manager.uploads.append({"metadata": sent, "files": files, "modes": modes})
    known = sum(version["model"]["name"] == sent["name"] for version in manager.versions)
    kept = {name: sent.get(name) for name in ("runtime", "modelSignature")}
    metadata = sent.get("metadata") or {}
    return manager.add_version(sent["name"], known + 1, metadata=metadata, **kept)


def take_spec(manager, body):
    spec = {"id": f"spec-{len(manager.specs)}", **json.loads(body)}
    config, known = spec["config"], {version["id"] for version in manager.versions}
    if not {spec["modelVersionId"], config["modelVersionId"]} <= known:
        error = {"error": "InternalException", "message": "NoMonitoringModelFound"}
        raise Refusal(500, error, TEXT)
    if config["thresholdCmpOperator"]["kind"] not in OPERATORS:
        raise Refusal(400, b"The request content was malformed", TEXT)
    manager.servables[spec["id"]] = {
        "modelVersionId": config["modelVersionId"],
        "status": "Starting",
        "statusMessage": manager.starting,
        "fullName": f"of-{spec['id']}",
        "metadata": {},
        "deploymentConfigurationName": config.get("deploymentConfigName", "the default one"),
    }
    if manager.keeps:
        manager.specs.append(spec)
    return with_servable(manager, spec, serves=False)


def with_servable(manager, spec, serves=True):
    """Return a metric as it is listed; its servable serves the next time."""
    servable = manager.servables.get(spec["id"])
    if servable is None:
        return spec
    shown = dict(servable)
    if manager.generation == 2:
        del shown["deploymentConfigurationName"]
        identity, message = shown.pop("modelVersionId"), shown.pop("statusMessage")
        shown["modelVersion"] = next(one for one in manager.versions if one["id"] == identity)
        status = {"host": "", "port": 9091, "status": shown["status"], "msg": message or "ok"}
        shown["status"] = status
    if serves and servable["statusMessage"] == STARTING:
        servable |= {"status": "Serving", "statusMessage": None}
    return {**spec, "config": {**spec["config"], "servable": shown}}


def list_specs(manager, _, target):
    specs = [spec for spec in manager.specs if spec["modelVersionId"] == int(target)]
    return [with_servable(manager, spec) for spec in specs]


def delete_spec(manager, _, identity):
    for spec in manager.specs:
        if spec["id"] == identity:
            manager.specs.remove(spec)
            if identity in manager.lost:
                raise Refusal(500, {"error": "InternalException", "message": "gone"})
            return spec
    raise Refusal(404, {"message": f"no {identity}", "error": "NotFound"})


def ask_servable(manager, body, name):
    try:
        value = manager.scorer(json.loads(body))
    except ValueError as error:
        raise Refusal(400, {"error": "BadRequest", "information": str(error)}) from error
    if value is None:
        raise Refusal(404, {"error": "NotFound", "information": f"no servable {name}"})
    return {"value": value}


def get_checks(manager, _, target, query):
    asked = dict(one.split("=") for one in query.split("&"))
    if not {"limit", "offset"} <= asked.keys():
        raise Refusal(500, {"errors": ["Required param not present in the request."]})
    if not all(number.isdigit() for number in asked.values()):
        raise Refusal(400, {"errors": ["param cannot be converted to int"]})
    return manager.sonar.requests(int(target), int(asked["limit"]), int(asked["offset"]))


def get_check(manager, _, identity):
    # An id of few digits is a version's there, and lacks `from` and `to`.
    if not re.fullmatch("[0-9a-f]{24}", identity) or not int(identity, 16):
        raise Refusal(500, {"errors": ["invalid hexadecimal representation of an ObjectId"]})
    return manager.sonar.request(identity)  # `null` where there is none


VERSION, SPEC = "/api/v2/model/version", "/api/v2/monitoring/metricspec"
ANSWERS = {
    f"GET {VERSION}": lambda manager, _: manager.versions,
    rf"GET {VERSION}/\d+/logs": lambda *_: EVENTS,
    rf"GET {VERSION}/(.+)/(\d+)": get_version,
    "POST /api/v2/model/upload": take_upload,
    f"POST {SPEC}": take_spec,
    rf"GET {SPEC}/modelversion/(\d+)": list_specs,
    f"DELETE {SPEC}/(.+)": delete_spec,
    "POST /gateway/servable/(.+)": ask_servable,
    "POST /api/v2/deployment_configuration": lambda manager, body: keep(manager.deployments, body),
    "POST /alerts/api/v2/alerts": lambda manager, body: keep(manager.alerts, body),
    r"POST /monitoring/profiles/batch/(\d+)": lambda manager, body, version: (
        manager.training_data.update({int(version): body}) or "ok"
    ),
    r"GET /monitoring/checks/all/(\d+)\?(.*)": get_checks,
    "GET /monitoring/checks/(.+)": get_check,
}
