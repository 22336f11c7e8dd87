"""A Hub on loopback: the part of its HTTP API that creating, committing, listing and downloading repositories takes."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import yaml

TOKENS = {"secret-of-me-on-loopback": "me", "secret-of-you-on-loopback": "you"}
MY_TOKEN, YOUR_TOKEN = TOKENS
LICENSES = {"mit", "apache-2.0", "other"}


@dataclass
class Repository:
    """One model, or one Space: its visibility, and every commit as path -> content."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def add(self, files: dict[str, bytes]) -> str:
        """Add a commit; return its id."""
        digest = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits.append((digest, files))
        return digest

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return the commit a revision names."""
        return next((commit for commit in reversed(self.commits) if revision in ("main", commit[0])), None)


class LoopbackHub(ThreadingHTTPServer):
    """The server's state: repositories, large files that no commit needs yet, what was asked, and what is to fail."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.operations: list[list[tuple[str, str]]] = []  # of every commit: kind and path
        self.failures: list[tuple[re.Pattern, int, int]] = []  # request, status, times
        self.validated: list[str] = []

    def fail(self, request: str, status: int = 500, times: int = 1) -> None:
        """Answer the next requests that match ``METHOD /path`` with an error."""
        self.failures.append((re.compile(request), status, times))

    def failure(self, request: str) -> int | None:
        """Return the status a request is to fail with."""
        for number, (pattern, status, times) in enumerate(self.failures):
            if pattern.search(request) and times:
                self.failures[number] = (pattern, status, times - 1)
                return status
        return None

    def files(self, name: str) -> dict[str, bytes]:
        """Return what a repository shows."""
        return self.repositories[name].commits[-1][1]

    def forget(self) -> None:
        """Start the record of what was asked anew."""
        self.requests, self.operations, self.failures = [], [], []


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: LoopbackHub

    def log_message(self, *args):
        """Stay quiet."""

    def answer(self, status: int, body=None, headers: dict | None = None) -> None:
        """Send a response; a mapping or list as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, message: str, code: str | None = None) -> None:
        """Send an error as the Hub words it."""
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer(status, {"error": message}, headers)

    @property
    def owner(self) -> str | None:
        """Return whose token came with the request."""
        return TOKENS.get((self.headers.get("authorization") or "").removeprefix("Bearer "))

    def handle_request(self) -> None:
        """Find the route of a request."""
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            self.body = b"".join(chunks)
        else:
            self.body = self.rfile.read(length)
        path = unquote(self.path.split("?")[0])
        request = f"{self.command} {path}"
        self.server.requests.append(request)
        if status := self.server.failure(request):
            self.refuse(status, "the server stumbled")
            return
        for pattern, route in ROUTES:
            if match := re.fullmatch(pattern, request.replace("/api/spaces/", "/api/models/spaces/")):
                route(self, *match.groups())
                return
        self.refuse(404, "no such page")

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def readable(self, name: str) -> Repository | None:
        """Return a repository the token may see, or refuse the request as the Hub does."""
        found = self.server.repositories.get(name)
        if found is None or (found.private and self.owner != name.split("/")[-2]):
            self.refuse(401 if self.owner is None else 404, "Repository not found", "RepoNotFound")
            return None
        return found

    def writable(self, name: str) -> Repository | None:
        """Return a repository the token may write to, or refuse the request."""
        found = self.readable(name)
        if found is None:
            return None
        if self.owner != name.split("/")[-2]:
            self.refuse(403 if self.owner else 401, "you may not write here")
            return None
        return found

    def whoami(self):
        """Name the owner of a token."""
        if self.owner is None:
            self.refuse(401, "Invalid username or password.")
        else:
            self.answer(200, {"name": self.owner, "type": "user", "orgs": []})

    def create(self):
        """Create a repository."""
        wish = json.loads(self.body)
        owner = wish.get("organization") or self.owner
        name = f"{'spaces/' if wish.get('type') == 'space' else ''}{owner}/{wish['name']}"
        if self.owner is None:
            self.refuse(401, "Invalid username or password.")
        elif owner != self.owner:
            self.refuse(403, "you may not write here")
        elif name in self.server.repositories:
            self.answer(409, {"error": "exists", "url": f"{self.server.url}/{name}"})
        else:
            repository = self.server.repositories[name] = Repository(wish.get("visibility") == "private")
            repository.add({".gitattributes": b"*.safetensors filter=lfs\n"})
            self.answer(200, {"url": f"{self.server.url}/{name}", "name": name})

    def info(self, name: str, revision: str | None = None):
        """Describe a repository."""
        if (found := self.readable(name)) is None:
            return
        if (commit := found.at(revision or "main")) is None:
            self.refuse(404, "no such revision", "RevisionNotFound")
            return
        siblings = [{"rfilename": path} for path in sorted(commit[1])]
        facts = {"id": name, "modelId": name, "sha": commit[0], "private": found.private, "siblings": siblings, "tags": []}
        card = re.match(r"---\n(.*?)\n---", commit[1].get("README.md", b"").decode(), re.DOTALL)
        self.answer(200, facts | ({"cardData": yaml.safe_load(card[1])} if card else {}))

    def tree(self, name: str, revision: str):
        """List a repository's files."""
        if (found := self.readable(name)) is None:
            return
        if (commit := found.at(revision)) is None:
            self.refuse(404, "no such revision", "RevisionNotFound")
        else:
            files = commit[1]
            self.answer(
                200,
                [
                    {"type": "file", "path": path, "size": len(files[path]), "oid": git_id(files[path])}
                    for path in sorted(files)
                ],
            )

    def preupload(self, name: str, revision: str):
        """Say which files are large, and which are here already."""
        if (found := self.writable(name)) is None:
            return
        now, answers = found.at(revision)[1], []
        for wish in json.loads(self.body)["files"]:
            path = wish["path"]
            large = path.endswith(".safetensors")
            answers.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False})
            if path in now:
                answers[-1]["oid"] = hashlib.sha256(now[path]).hexdigest() if large else git_id(now[path])
        self.answer(200, {"files": answers})

    def batch(self, name: str):
        """Say where large files go; no place for those that are here already."""
        if self.writable(name) is None:
            return
        objects = json.loads(self.body)["objects"]
        for one in objects:
            if one["oid"] not in self.server.large:
                one["actions"] = {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}
        self.answer(200, {"transfer": "basic", "objects": objects})

    def put(self, oid: str):
        """Take a large file."""
        if hashlib.sha256(self.body).hexdigest() == oid:
            self.server.large[oid] = self.body
            self.answer(200)
        else:
            self.refuse(400, "the content does not match its name")

    def commit(self, name: str, revision: str):
        """Apply every operation at once, or none."""
        if (found := self.writable(name)) is None:
            return
        files, done = dict(found.at(revision)[1]), []
        for line in self.body.splitlines():
            item = json.loads(line)
            kind, value = item["key"], item["value"]
            if kind == "header":
                continue
            done.append((kind, value["path"]))
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                if value["oid"] not in self.server.large:
                    self.refuse(400, f"{value['path']} was never uploaded")
                    return
                files[value["path"]] = self.server.large[value["oid"]]
            else:
                del files[value["path"]]
        self.server.operations.append(done)
        oid = found.add(files)
        self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid})

    def resolve(self, name: str, revision: str, path: str):
        """Send a file."""
        if (found := self.readable(name)) is None:
            return
        commit = found.at(revision)
        if commit is None:
            self.refuse(404, "no such revision", "RevisionNotFound")
        elif path not in commit[1]:
            self.answer(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit[0]})
        else:
            content = commit[1][path]
            self.answer(200, content, {"ETag": f'"{git_id(content)}"', "X-Repo-Commit": commit[0]})

    def validate(self):
        """Check a card's metadata by some of the Hub's rules."""
        asked = json.loads(self.body)
        content, space = asked["content"], asked.get("repoType") == "space"
        self.server.validated.append(content)
        errors = []
        try:
            metadata = yaml.safe_load(re.match(r"---\n(.*?)\n---", content, re.DOTALL)[1])
            if "license" in metadata and metadata["license"] not in LICENSES:
                errors.append(f'"license" must be one of {sorted(LICENSES)}')
            for key in ("title", "sdk") if space else ("library_name", "pipeline_tag"):
                if not isinstance(metadata.get(key), str):
                    errors.append(f'"{key}" must be a string')
            for model in metadata.get("model-index", []):
                for result in model["results"]:
                    if not {"task", "dataset", "metrics"} <= result.keys() or "type" not in result["dataset"]:
                        errors.append('"model-index" lacks task, dataset or metrics')
        except (TypeError, yaml.YAMLError) as error:
            errors.append(f"no metadata: {error}")
        messages = [{"message": message} for message in errors]
        self.answer(400 if errors else 200, {"errors": messages, "warnings": []})


NAME, REVISION = r"((?:spaces/)?[\w.-]+/[\w.-]+)", r"([\w.-]+)"
ROUTES = [
    (r"GET /api/whoami-v2", Handler.whoami),
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (rf"POST /api/models/{NAME}/preupload/{REVISION}", Handler.preupload),
    (rf"POST /api/models/{NAME}/commit/{REVISION}", Handler.commit),
    (rf"GET /api/models/{NAME}/tree/{REVISION}", Handler.tree),
    (rf"GET /api/models/{NAME}/revision/{REVISION}", Handler.info),
    (rf"GET /api/models/{NAME}", Handler.info),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /large/(\w+)", Handler.put),
    (rf"(?:GET|HEAD) /{NAME}/resolve/{REVISION}/(.+)", Handler.resolve),
]


def git_id(content: bytes) -> str:
    """Return the id git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def loopback_hub():
    """Run a Hub on loopback for as long as the block runs."""
    hub = LoopbackHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
