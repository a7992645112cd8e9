"""The report of a run as a live page: a web server that draws it again as the tables of the run change.

The server reads the run folder and writes nothing into it. It answers with the page, its version, and the
files to which the page links, and with nothing else.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from socketserver import BaseServer
from threading import Lock
from typing import TypeAlias
from urllib.parse import urlsplit

from morel_search.analysis.report.html import text
from morel_search.analysis.report.page import report_text
from morel_search.analysis.report.sections.reproduce import LINKED
from morel_search.analysis.report.version import version_of
from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.reading import TABLE_BYTES, read_regular

__all__ = ["LivePage", "is_loopback", "live_server"]

LEAST_SECONDS, SHARE = 5.0, 0.2
"""Least time between two drawings, and the largest share of time that drawing takes."""

REDRAWN = "This page is redrawn as trials finish."

_NOTHING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}</title>
<style>{style}</style>
</head>
<body><main><header><h1>{name}: there is no report yet</h1></header></main></body>
</html>
"""
"""The page while the first one cannot be drawn; a note in it says why."""

Request: TypeAlias = socket.socket | tuple[bytes, socket.socket]
"""A connection as :mod:`socketserver` passes it."""

LOCAL_NAMES = ("localhost", "localhost.localdomain")


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_NAMES


class LivePage:
    """The page of a run, drawn again when its files have changed.

    Args:
        run: The run folder.
        clock: Returns seconds since a fixed moment.
    """

    def __init__(self, run: RunFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock, self._lock = run, clock, Lock()
        self._page, self._version, self._next, self._note = "", "", 0.0, ""

    def version(self) -> str:
        """Return the version of the page that :meth:`page` would return now."""
        with self._lock:
            return self._newest()

    def page(self) -> str:
        """Return the page; a damaged or missing file leaves the page before it, with the reason."""
        with self._lock:
            newest = self._newest()
            if newest != self._version:
                began = self._clock()
                self._note = REDRAWN
                try:
                    self._page = report_text(self._run)
                except RunFolderError as error:
                    again = " again" if self._page else ""
                    self._note = f"The page could not be drawn{again}: {error}."
                self._version = newest
                seconds = self._clock() - began
                self._next = self._clock() + max(LEAST_SECONDS, seconds / SHARE)
            return self._with_state()

    def _newest(self) -> str:
        """Return the version of the files; the last one while it is too early to draw again."""
        if self._version and self._clock() < self._next:
            return self._version
        return version_of(self._run)

    def _with_state(self) -> str:
        folder = resources.files("morel_search.analysis.report")
        script = (folder / "live.js").read_text(encoding="utf-8")
        state = (
            f'<p class="note" id="live" role="status" data-version="{self._version}">{text(self._note)}</p>'
        )
        page = self._page or _NOTHING.format(
            name=text(self._run.name), style=(folder / "page.css").read_text(encoding="utf-8")
        )
        page = page.replace("default-src 'none';", "default-src 'none'; connect-src 'self';", 1)
        page = page.replace("</header>", f"{state}</header>", 1)
        before, _, after = page.rpartition("</body>")
        return f"{before}<script>{script}</script></body>{after}"


def live_server(run: RunFolder, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of the page; ``serve_forever`` runs it.

    Args:
        run: The run folder.
        host: Address on which it listens.
        port: Port; 0 takes a free one.

    Raises:
        RunFolderError: The address cannot be used, for example because another program listens there.
    """
    kind = _Server6 if ":" in host else _Server
    try:
        return kind((host, port), partial(_Handler, LivePage(run), run))
    except OSError as error:
        raise os_error_sentence("listen on", Path(f"{host}:{port}"), error) from error
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"{host!r} is not the name or the address of a machine") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Request, client_address: object) -> None:
        """Print the traceback of a bug; a browser that has gone away is none."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    timeout = 60.0  # a connection without a request must not stay for ever

    def __init__(
        self, live: LivePage, run: RunFolder, request: Request, client_address: object, server: BaseServer
    ) -> None:
        self._live, self._run = live, run
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        """Answer with the page, its version or a file of the run."""
        if not self._named_by_address():
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers under its address only")
            return
        path = self.path.partition("?")[0].lstrip("/")
        if path == "":
            self._send(self._live.page().encode("utf-8", "backslashreplace"), "text/html; charset=utf-8")
        elif path == "version":
            self._send(self._live.version().encode(), "text/plain")
        elif path in LINKED:
            self._send_file(self._run.path / path)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _send_file(self, path: Path) -> None:
        """Send a file of the run folder; one to which a link leads out of the folder is not found."""
        try:
            inside = path.resolve().is_relative_to(self._run.path.resolve())
            content = read_regular(path, TABLE_BYTES) if inside else None
        except (OSError, RuntimeError):  # RuntimeError: links in a circle, in Python before 3.13
            content = None
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(content, "application/octet-stream")

    def _named_by_address(self) -> bool:
        """Return whether the request names this machine by address or as localhost.

        A page of another site can make a browser ask this server under that site's own name (DNS rebinding).
        """
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError:  # a bracket without its pair
            return False
        if host in LOCAL_NAMES:
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
