"""A Hugging Face hub on this machine: one data set, in commits that can be added."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = "someone/pictures"


@dataclass
class Hub:
    """The name and the commits of the data set, each with its files, and the paths that were asked for."""

    repository: str = REPOSITORY
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    newest: str = ""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, files: dict[str, bytes]) -> str:
        self.newest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[self.newest] = files
        return self.newest

    def files(self, revision: str) -> tuple[str, dict[str, bytes]]:
        name = self.newest if revision == "main" else revision
        return name, self.commits[name]


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def missing(self, code: str) -> None:
            self.answer(b"{}", 404, X_Error_Code=code, X_Error_Message=code)

        def respond(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            asked = self.rfile.read(size)
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {unquote(self.path)}")
            if path.startswith(f"/datasets/{hub.repository}/resolve/"):
                revision, name = path.removeprefix(f"/datasets/{hub.repository}/resolve/").split("/", 1)
                if revision not in ("main", *hub.commits):
                    return self.missing("RevisionNotFound")
                commit, files = hub.files(revision)
                if name not in files:
                    return self.missing("EntryNotFound")
                etag = hashlib.sha1(files[name]).hexdigest()
                return self.answer(files[name], X_Repo_Commit=commit, ETag=f'"{etag}"')
            base = f"/api/datasets/{hub.repository}"
            if not (path == base or path.startswith(f"{base}/")):
                return self.missing("RepoNotFound")
            parts = path.removeprefix(base).strip("/").split("/", 2)
            revision = parts[1] if len(parts) > 1 else "main"
            if revision not in ("main", *hub.commits):
                return self.missing("RevisionNotFound")
            commit, files = hub.files(revision)
            entries: list[dict[str, Any]] = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            folders = {str(parent) for name in files for parent in PurePosixPath(name).parents if parent.name}
            entries += [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders)]
            if parts[0] == "tree":
                within = parts[2] if len(parts) > 2 else ""
                if within and within not in folders:
                    return self.missing("EntryNotFound")
                deep = "recursive=true" in self.path.lower()
                entries = [
                    entry
                    for entry in entries
                    if PurePosixPath(entry["path"]).is_relative_to(within or ".")
                    and entry["path"] != within
                    and (deep or str(PurePosixPath(entry["path"]).parent) == (within or "."))
                ]
                return self.answer(json.dumps(entries).encode(), Content_Type="application/json")
            if parts[0] == "paths-info":
                wanted = json.loads(asked)["paths"]
                entries = [entry for entry in entries if entry["path"] in wanted]
                return self.answer(json.dumps(entries).encode(), Content_Type="application/json")
            info = {
                "id": hub.repository,
                "sha": commit,
                "private": False,
                "disabled": False,
                "gated": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": [{"rfilename": name} for name in files],
            }
            return self.answer(json.dumps(info).encode(), Content_Type="application/json")

        do_GET = do_HEAD = do_POST = respond

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
