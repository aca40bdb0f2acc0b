"""A manager, and sonar, on loopback that answer hs and the REST APIs as the released ones do."""

import contextlib
import email
import io
import json
import re
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from stubs.sonar import Sonar

EVENTS = "event: Log\ndata: Step 1/4 : FROM runtime\n\nevent: EndOfStream\ndata: \n\n"


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
        elif self.path == "/api/v2/monitoring/metricspec":
            spec = {"id": f"spec-{len(self.server.specs)}", **json.loads(body)}
            used = spec["config"].get("deploymentConfigName", "hydrosphere_manager_default")
            self.server.servables[spec["id"]] = {
                "modelVersionId": spec["config"]["modelVersionId"],
                "status": "Starting",
                "statusMessage": "Initialization",
                "fullName": f"of-{spec['id']}",
                "metadata": {},
                "deploymentConfigurationName": used,
            }
            self.answer(spec, lambda: self.server.keeps and self.server.specs.append(spec))
        elif self.path.startswith("/gateway/servable/"):
            value = self.server.scorer(json.loads(body))
            self.answer(None if value is None else {"value": value})
        elif self.path == "/api/v2/deployment_configuration":
            self.server.deployments.append(json.loads(body))
            self.answer(json.loads(body))
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
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def do_GET(self):
        versions = self.server.versions
        for beginning, answer in self.server.instead.items():
            if self.path.startswith(beginning):
                self.send(*answer)
                return
        if self.path == "/api/v2/model/version":
            self.answer(versions)
        elif re.fullmatch(r"/api/v2/model/version/\d+/logs", self.path):
            self.send(200, "text/event-stream", EVENTS.encode())
        elif match := re.fullmatch(r"/api/v2/model/version/(.+)/(\d+)", self.path):
            key = (match[1], int(match[2]))
            found = [v for v in versions if (v["model"]["name"], v["modelVersion"]) == key]
            self.answer(found[0] if found else None)
        elif match := re.fullmatch(r"/api/v2/monitoring/metricspec/modelversion/(\d+)", self.path):
            specs = [s for s in self.server.specs if s["modelVersionId"] == int(match[1])]
            self.answer([self.with_servable(spec) for spec in specs])
        elif match := re.fullmatch(r"/monitoring/checks/all/(\d+)\?.*", self.path):
            self.answer(self.ask_sonar(int(match[1])))
        elif match := re.fullmatch(r"/monitoring/checks/([0-9a-f]{24})", self.path):
            found = self.server.sonar.request(match[1])  # `null` where there is none
            self.send(200, "application/json", json.dumps(found).encode())
        else:
            self.answer(None)

    def with_servable(self, spec):
        """Return a metric as it is listed; its servable serves the next time unless it is stuck."""
        if spec["id"] not in self.server.servables:
            return spec
        servable = dict(self.server.servables[spec["id"]])
        if servable["statusMessage"] == "Initialization":
            self.server.servables[spec["id"]] |= {"status": "Serving", "statusMessage": None}
        return {**spec, "config": {**spec["config"], "servable": servable}}

    def ask_sonar(self, target):
        """Return what sonar lists, or None, which is an error, without a limit and an offset."""
        query = {name: int(value) for name, value in parse_qsl(urlsplit(self.path).query)}
        if not {"limit", "offset"} <= query.keys():
            return None
        return self.server.sonar.requests(target, query["limit"], query["offset"])

    def do_DELETE(self):
        identity = self.path.rsplit("/", 1)[1]
        found = [spec for spec in self.server.specs if spec["id"] == identity]
        if identity in self.server.lost:
            self.server.specs.remove(found[0])
            self.send(500, "application/json", b'{"error": "InternalException"}')
            return
        self.answer(found[0] if found else None, lambda: self.server.specs.remove(found[0]))

    def take_upload(self, body):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in email.message_from_bytes(head + body).get_payload()
        }
        metadata = json.loads(parts["metadata"])
        with tarfile.open(fileobj=io.BytesIO(parts["payload"])) as tar:
            names = [member.name for member in tar.getmembers() if member.isfile()]
            files = {name: tar.extractfile(name).read() for name in names}
            modes = {name: tar.getmember(name).mode for name in names}
        self.server.uploads.append({"metadata": metadata, "files": files, "modes": modes})
        signature = metadata.get("modelSignature")
        others = {"runtime": metadata["runtime"], "modelSignature": signature}
        others["metadata"] = metadata.get("metadata") or {}
        name = metadata["name"]
        known = sum(version["model"]["name"] == name for version in self.server.versions)
        return self.server.add_version(name, known + 1, status=self.server.built, **others)

    def answer(self, content, change=lambda: None):
        if self.command in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.command] + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = self.server.failing.get(self.command, 404 if content is None else 200)
        if status == 200:
            change()
        self.send(status, "application/json", json.dumps(content).encode())

    def drip(self):
        """Send a byte now and then, until the reader leaves."""
        with contextlib.suppress(OSError):
            while self.server.drips.is_set():
                self.wfile.write(b" ")
                self.wfile.flush()
                threading.Event().wait(0.02)

    def send(self, status, kind, content, length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.server.drips.is_set():
            self.drip()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
