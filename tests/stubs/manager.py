"""A manager, and sonar, on loopback that answer hs and the REST APIs as the released ones do."""

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
EVENTS = "event: Log\ndata: Step 1/4 : FROM runtime\n\nevent: EndOfStream\ndata: \n\n"
VERSION = "/api/v2/model/version"
SPEC = "/api/v2/monitoring/metricspec"
CHECKS = r"/monitoring/checks/all/(\d+)\?limit=(\d+)&offset=(\d+)"


class Manager(ThreadingHTTPServer):
    """Keeps what it was sent, for the tests to look at."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.uploads = []
        self.versions = []
        self.specs = []
        self.deployments = []
        self.failing = {}
        self.keeps = True  # the metrics that are created
        self.redirects = {}  # by method: where it is sent to
        self.drips = threading.Event()  # set, an answer never ends
        self.instead = {}  # by the beginning of a path: status, content type, body and its length
        self.training_data = {}
        self.built = "Released"  # the status of what is uploaded
        self.alerts = []  # that Alertmanager was sent
        self.sonar = Sonar()
        self.servables = {}  # by a metric's id; what was posted starts, and serves when asked again
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


@contextmanager
def running():
    with Manager() as manager:
        threading.Thread(target=manager.serve_forever, args=(0.01,)).start()
        try:
            yield manager
        finally:
            manager.shutdown()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = b"".join(self.read_body())
        if self.path == "/api/v2/model/upload":
            self.answer(self.take_upload(body))
        elif self.path == SPEC:
            self.take_spec(json.loads(body))
        elif self.path.startswith("/gateway/servable/"):
            value = self.server.scorer(json.loads(body))
            self.answer(None if value is None else {"value": value})
        elif self.path == "/api/v2/deployment_configuration":
            self.answer(json.loads(body), lambda: self.server.deployments.append(json.loads(body)))
        elif self.path == "/alerts/api/v2/alerts":
            self.answer({}, lambda: self.server.alerts.append(json.loads(body)))
        elif match := re.fullmatch(r"/monitoring/profiles/batch/(\d+)", self.path):
            self.answer("ok", lambda: self.server.training_data.update({int(match[1]): body}))
        else:
            self.answer(None)

    def read_body(self):
        """Yield what was posted: whole, or in chunks as hs sends training data."""
        if "Content-Length" in self.headers:
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while chunk := self.rfile.read(int(self.rfile.readline(), 16) + 2)[:-2]:
            yield chunk

    def do_GET(self):
        versions, sonar = self.server.versions, self.server.sonar
        for beginning, answer in self.server.instead.items():
            if self.path.startswith(beginning):
                self.send(*answer)
                return
        if self.path == VERSION:
            self.answer(versions)
        elif re.fullmatch(VERSION + r"/\d+/logs", self.path):
            self.send(200, "text/event-stream", EVENTS.encode())
        elif match := re.fullmatch(VERSION + r"/(.+)/(\d+)", self.path):
            key = (match[1], int(match[2]))
            found = [v for v in versions if (v["model"]["name"], v["modelVersion"]) == key]
            self.answer(found[0] if found else None)
        elif match := re.fullmatch(SPEC + r"/modelversion/(\d+)", self.path):
            specs = [s for s in self.server.specs if s["modelVersionId"] == int(match[1])]
            self.answer([self.with_servable(spec) for spec in specs])
        elif match := re.fullmatch(CHECKS, self.path):
            self.answer(sonar.requests(*map(int, match.groups())))
        elif match := re.fullmatch(r"/monitoring/checks/([0-9a-f]{24})", self.path):
            found = sonar.request(match[1])  # `null` where there is none
            self.send(200, "application/json", json.dumps(found).encode())
        else:
            self.answer(None)

    def take_spec(self, spec):
        spec = {"id": f"spec-{len(self.server.specs)}", **spec}
        used = spec["config"].get("deploymentConfigName", "hydrosphere_manager_default")
        self.server.servables[spec["id"]] = {
            "modelVersionId": spec["config"]["modelVersionId"],
            "status": "Starting",
            "statusMessage": self.server.starting,
            "fullName": f"of-{spec['id']}",
            "metadata": {},
            "deploymentConfigurationName": used,
        }
        self.answer(spec, lambda: self.server.keeps and self.server.specs.append(spec))

    def with_servable(self, spec):
        """Return a metric as it is listed; its servable serves the next time."""
        servable = self.server.servables.get(spec["id"])
        if servable is None:
            return spec
        listed = {**spec, "config": {**spec["config"], "servable": dict(servable)}}
        if servable["statusMessage"] == STARTING:
            servable |= {"status": "Serving", "statusMessage": None}
        return listed

    def do_DELETE(self):
        specs, identity = self.server.specs, self.path.rsplit("/", 1)[1]
        found = next((spec for spec in specs if spec["id"] == identity), None)
        if identity in self.server.lost:
            specs.remove(found)
            self.send(500, "application/json", b'{"error": "InternalException"}')
        else:
            self.answer(found, lambda: specs.remove(found))

    def take_upload(self, body):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in email.message_from_bytes(head + body).get_payload()
        }
        sent = json.loads(parts["metadata"])
        with tarfile.open(fileobj=io.BytesIO(parts["payload"])) as tar:
            members = [member for member in tar if member.isfile()]
            files = {member.name: tar.extractfile(member).read() for member in members}
        modes = {member.name: member.mode for member in members}
        self.server.uploads.append({"metadata": sent, "files": files, "modes": modes})
        known = sum(version["model"]["name"] == sent["name"] for version in self.server.versions)
        kept = {name: sent.get(name) for name in ("runtime", "modelSignature")}
        kept |= {"metadata": sent.get("metadata") or {}, "status": self.server.built}
        return self.server.add_version(sent["name"], known + 1, **kept)

    def answer(self, content, change=lambda: None):
        status = self.server.failing.get(self.command, 404 if content is None else 200)
        if self.command in self.server.redirects:
            status = 302
        if status == 200:
            change()
        self.send(status, "application/json", json.dumps(content).encode())

    def send(self, status, kind, content, length=None):
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.redirects[self.command] + self.path)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        with contextlib.suppress(OSError):  # the reader leaves
            while self.server.drips.is_set():
                self.wfile.write(b" ")
                time.sleep(0.02)
        self.wfile.write(content)

    def log_message(self, *_):
        pass
