"""A small hub on loopback, whose repositories and faults are made in a test.

It answers as the real one does wherever `huggingface_hub` 1.33 reads: a repository's commit, its
files with sizes, its tree, search, and files by `resolve`. Large files lie on another host that is
redirected to, with ranges, ETag and the hub's headers. It takes uploads too: a new repository,
large files by LFS, and a commit of them.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = (".safetensors", ".gguf", ".parquet", ".bin", ".zip")
"""Files of these kinds are kept outside of git, and named by their SHA-256."""
LICENCES = ("apache-2.0", "mit", "llama3.1", "gemma", "other")
"""Some of those that the hub knows."""
PORTAL = b"<!DOCTYPE html><html><body>Please log in to this network.</body></html>"


def blob_id(content: bytes) -> str:
    """Return git's name of a file with this content."""
    return hashlib.sha1(
        f"blob {len(content)}\0".encode() + content, usedforsecurity=False
    ).hexdigest()


@dataclass
class Repo:
    """A model or a dataset."""

    id: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by name, by commit."""
    refs: dict[str, str] = field(default_factory=dict)
    """Commits by branch and tag."""
    gated: bool = False
    private: bool = False

    def commit(self, files: dict[str, bytes], *, ref: str = "main") -> str:
        """Put files there as the newest commit of a branch."""
        made = hashlib.sha1(
            repr((self.refs, sorted(files.items()))).encode(), usedforsecurity=False
        ).hexdigest()
        self.commits[made], self.refs[ref] = files, made
        return made


@dataclass
class Fault:
    """The fault of some answers."""

    path: str
    """Part of the path of those that it is about."""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Bytes of the content after which the connection ends."""
    bytes_per_s: float = 0.0
    """How slowly the content comes."""
    silent: bool = False
    portal: bool = False
    body: bytes | None = None
    """Sent in the place of the content, with the headers of the content."""
    no_ranges: bool = False
    times: int = 1_000_000
    """How many answers are wrong."""


@dataclass
class Asked:
    """A request that came."""

    path: str
    query: dict[str, list[str]]
    begin: int
    """The first byte that was wanted."""
    end: int | None
    """The byte behind the last one that was wanted; None for all."""
    token: str
    sent: int = 0
    """Bytes of content that were sent."""


class Hub:
    """The server."""

    def __init__(self) -> None:
        self.models: dict[str, Repo] = {}
        self.data_sets: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.token = "hf_" + "let" * 8
        self.owners = {"org"}
        """Under whose names the account of the token may write."""
        self.stored: dict[str, bytes] = {}
        """Large files that were sent, by their SHA-256."""
        self.stopping = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, id: str, files: dict[str, bytes], **what: Any) -> Repo:
        """Put a model there."""
        repo = self.models[id] = Repo(id, **what)
        repo.commit(files)
        return repo

    def repos(self, kind: str) -> dict[str, Repo]:
        """Return its models or datasets by id."""
        return self.data_sets if kind == "dataset" else self.models

    def add_folder(self, id: str, folder: Path, **what: Any) -> Repo:
        """Put a model there that lies in a folder."""
        return self.add(
            id,
            {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()},
            **what,
        )

    def fault(self, path: str = "", **what: Any) -> Fault:
        """Let something be wrong from now on."""
        self.faults.append(Fault(path, **what))
        return self.faults[-1]

    def sent(self, part: str) -> int:
        """Bytes that were sent of files with this in their path."""
        return sum(one.sent for one in self.asked if part in one.path)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.given = self.rfile.read(int(self.headers.get("content-length", 0)))
        split = urlsplit(self.path)
        begin, _, last = self.headers.get("range", "").removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else None
        token = self.headers.get("authorization", "")
        self.one = Asked(unquote(split.path), parse_qs(split.query), int(begin or 0), end, token)
        self.hub.asked.append(self.one)
        self.wrong = self._wrong()
        if self.wrong.silent:
            self.hub.stopping.wait(30)
            self.close_connection = True
        elif self.wrong.portal:
            self._send(200, PORTAL, {"content-type": "text/html; charset=utf-8"})
        elif self.wrong.status:
            self._send(self.wrong.status, b"{}", self.wrong.headers)
        else:
            self._answer()

    def _wrong(self) -> Fault:
        for fault in self.hub.faults:
            if fault.path in self.one.path and fault.times > 0:
                fault.times -= 1
                return fault
        return Fault("")

    def _answer(self) -> None:
        parts = self.one.path.strip("/").split("/")
        if self.command in ("POST", "PUT"):
            self._take(parts)
        elif parts[0] == "cdn":
            contents = {
                hashlib.sha256(content).hexdigest(): content for content in self._contents()
            }
            self._content(contents[parts[1]], {"etag": f'"{parts[1]}"'})
        elif parts[0] == "api":
            self._api(parts[1], parts[2:])
        else:
            kind, rest = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
            at = rest.index("resolve")
            self._resolve(kind, "/".join(rest[:at]), rest[at + 1], "/".join(rest[at + 2 :]))

    def _contents(self) -> Iterator[bytes]:
        for repo in [*self.hub.models.values(), *self.hub.data_sets.values()]:
            for files in repo.commits.values():
                yield from files.values()

    def _found(self, kind: str, id: str, revision: str) -> tuple[Repo, str] | None:
        """The repository and the commit; None where that was refused."""
        repo = (self.hub.models if kind == "models" else self.hub.data_sets).get(id)
        knows = self.one.token == f"Bearer {self.hub.token}"
        if self.one.token and not knows:
            self._send(401, b"", {"x-error-message": "Invalid credentials in Authorization header"})
        elif repo is None or (repo.private and not knows):
            self._send(404 if knows else 401, b"", {"x-error-code": "RepoNotFound"})
        elif repo.gated and "/resolve/" in self.path and not knows:
            self._send(401, b"", {"x-error-code": "GatedRepo"})
        elif (commit := repo.refs.get(revision, revision)) not in repo.commits:
            self._send(404, b"", {"x-error-code": "RevisionNotFound"})
        else:
            return repo, commit
        return None

    def _api(self, kind: str, rest: list[str]) -> None:
        if kind not in ("models", "datasets"):
            self._send(404, b"", {})
            return
        if not rest:
            self._search()
            return
        at = next(
            (place for place, part in enumerate(rest) if part in ("revision", "tree")), len(rest)
        )
        revision = rest[at + 1] if at < len(rest) else "main"
        found = self._found(kind, "/".join(rest[:at]), revision)
        if found is None:
            return
        repo, commit = found
        listed = repo.commits[commit].items()
        if rest[at : at + 1] == ["tree"]:
            said: Any = [
                {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
                | (
                    {
                        "lfs": {
                            "oid": hashlib.sha256(content).hexdigest(),
                            "size": len(content),
                            "pointerSize": 134,
                        }
                    }
                    if name.endswith(LARGE)
                    else {}
                )
                for name, content in listed
            ]
        else:
            siblings = [
                {"rfilename": name, "size": len(content), "blobId": blob_id(content)}
                | (
                    {
                        "lfs": {
                            "sha256": hashlib.sha256(content).hexdigest(),
                            "size": len(content),
                            "pointerSize": 134,
                        }
                    }
                    if name.endswith(LARGE)
                    else {}
                )
                for name, content in listed
            ]
            said = {
                "id": repo.id,
                "sha": commit,
                "siblings": siblings,
                "private": repo.private,
                "gated": repo.gated,
            }
        self._send(200, json.dumps(said).encode(), {"content-type": "application/json"})

    def _take(self, parts: list[str]) -> None:
        """Store an upload: only with the token, and only under the names of its account."""
        if parts[0] == "upload":  # on another host, which is sent no token
            assert hashlib.sha256(self.given).hexdigest() == parts[1]
            self.hub.stored[parts[1]] = self.given
            self._send(200, b"", {})
            return
        said = {} if "commit" in parts else json.loads(self.given)
        if parts == ["api", "validate-yaml"]:  # which anybody may ask
            self._validate(said["content"])
            return
        named = parts[2:] if parts[0] == "api" else parts[1:] if parts[0] == "datasets" else parts
        owner = said.get("organization") or (named[0] if named else parts[-1])
        if self.one.token != f"Bearer {self.hub.token}":
            self._send(
                401, b"{}", {"x-error-message": "Invalid credentials in Authorization header"}
            )
        elif owner not in self.hub.owners:
            self._send(403, b'{"error": "forbidden"}', {})
        elif parts == ["api", "repos", "create"]:
            self._create(
                said.get("type") or "model",
                f"{owner}/{said['name']}",
                private=said["visibility"] == "private",
            )
        elif parts[-1] == "batch":
            self._say(
                {"transfer": "basic", "objects": [self._asked_for(one) for one in said["objects"]]}
            )
        elif "preupload" in parts:
            modes = [
                ("lfs" if one["path"].endswith(LARGE) else "regular", one["path"])
                for one in said["files"]
            ]
            self._say(
                {
                    "files": [
                        {"path": path, "uploadMode": mode, "shouldIgnore": False}
                        for mode, path in modes
                    ]
                }
            )
        else:
            self._commit(self.hub.repos(parts[1].removesuffix("s"))["/".join(parts[2:4])])

    def _validate(self, card: str) -> None:
        """As the hub does of a model card, by its documentation: known licences and tasks, ids, and
        results with all parts.
        """
        head = yaml.safe_load(card.split("---")[1])
        wrong = []
        if head.get("license", "mit") not in LICENCES:
            wrong.append('"license" must be one of the known ones')
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(head.get("base_model", "a/b"))):
            wrong.append(
                '"base_model" with value is not valid. Use a model id from https://hf.co/models.'
            )
        if head.get("pipeline_tag", "text-generation") != "text-generation":
            wrong.append('"pipeline_tag" must be a known task')
        for model in head.get("model-index", []):
            wrong += [] if model.get("name") else ['"model-index" has no name']
            for result in model.get("results", []):
                parts = {"task": ("type",), "dataset": ("type", "name")}
                missing = [
                    f"{part}.{name}"
                    for part, names in parts.items()
                    for name in names
                    if not result[part].get(name)
                ]
                missing += [
                    f"metrics.{name}"
                    for one in result["metrics"]
                    for name in ("type", "value")
                    if name not in one
                ]
                wrong += [f'"model-index[0].results" lacks {", ".join(missing)}'] if missing else []
        self._say(
            {"errors": [{"message": one} for one in wrong], "warnings": []}, 400 if wrong else 200
        )

    def _create(self, kind: str, id: str, *, private: bool) -> None:
        if id in self.hub.repos(kind):
            self._send(409, b'{"error": "You already created this model repo"}', {})
            return
        repo = self.hub.repos(kind)[id] = Repo(id, private=private)
        repo.commit({".gitattributes": b"*.safetensors filter=lfs"})
        self._say({"url": f"{self.hub.endpoint}/{id}", "name": id})

    def _asked_for(self, one: dict[str, Any]) -> dict[str, Any]:
        """Return the entry of a large file, with the address to send it to if it has to be sent."""
        upload = {
            "upload": {
                "href": f"http://localhost:{self.hub.port}/upload/{one['oid']}",
                "header": {},
            }
        }
        return one | ({} if one["oid"] in self.hub.stored else {"actions": upload})

    def _commit(self, repo: Repo) -> None:
        files = dict(repo.commits[repo.refs["main"]])
        for line in map(json.loads, self.given.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        made = repo.commit(files)
        self._say({"commitUrl": f"{self.hub.endpoint}/{repo.id}/commit/{made}", "commitOid": made})

    def _say(self, said: Any, status: int = 200) -> None:
        self._send(status, json.dumps(said).encode(), {"content-type": "application/json"})

    def _search(self) -> None:
        words = self.one.query.get("search", [""])[0].lower()
        said = [
            {
                "id": id,
                "downloads": 1000 - place,
                "gated": "manual" if repo.gated else False,
                "private": repo.private,
                "safetensors": {"parameters": {"F32": 1234}, "total": 1234},
            }
            for place, (id, repo) in enumerate(self.hub.models.items())
            if words in id.lower()
        ]
        self._send(200, json.dumps(said).encode(), {"content-type": "application/json"})

    def _resolve(self, kind: str, id: str, revision: str, name: str) -> None:
        found = self._found(kind, id, revision)
        if found is None:
            return
        repo, commit = found
        content = repo.commits[commit].get(name)
        headers = {"x-repo-commit": commit}
        if content is None:
            self._send(404, b"", headers | {"x-error-code": "EntryNotFound"})
        elif name.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            large = {"x-linked-etag": f'"{digest}"', "x-linked-size": str(len(content))}
            self._send(
                302,
                b"",
                headers
                | large
                | {"location": f"http://localhost:{self.hub.port}/cdn/{digest}/{name}"},
            )
        else:
            self._content(content, headers | {"etag": f'"{blob_id(content)}"'})

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        content = content if self.wrong.body is None else self.wrong.body
        begin, end = (0, None) if self.wrong.no_ranges else (self.one.begin, self.one.end)
        headers = headers | {"content-type": "application/octet-stream", "accept-ranges": "bytes"}
        is_part = bool(begin or end)
        if is_part:
            headers["content-range"] = f"bytes {begin}-{(end or len(content)) - 1}/{len(content)}"
        self._send(206 if is_part else 200, content[begin:end], headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.wrong.cut_after is not None:
            content = content[: self.wrong.cut_after]
            self.close_connection = True
        step = (
            max(1, int(self.wrong.bytes_per_s / 20))
            if self.wrong.bytes_per_s
            else len(content) or 1
        )
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for at in range(0, len(content), step):
                self.wfile.write(content[at : at + step])
                self.one.sent += len(content[at : at + step])
                if self.wrong.bytes_per_s:
                    time.sleep(0.05)


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers as long as the body runs."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.close()
        thread.join(5)
