"""The live page: redrawn when the tables change, under its own address only, and nothing is written."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
from run_folders import make_run
from test_report_browser import BROWSER, console, open_page

from morel_search.__main__ import main
from morel_search.analysis.report import page
from morel_search.analysis.report.live import LEAST_SECONDS, SHARE, LivePage, is_loopback, live_server
from morel_search.errors import RunFolderError
from morel_search.results.folder import RunFolder


@dataclass
class Address:
    """The address of the served page, in place of the path of a file."""

    port: int

    def as_uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def files_of(run: RunFolder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}


def finish_another(run: RunFolder) -> None:
    """Write the tables as the search does: one more trial has finished."""
    table = run.read_trials()
    last = table.iloc[[-1]].assign(number=table["number"].max() + 1)
    run.write_table(run.trials, pd.concat([table, last]))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path, trials=4, failures=0, controls=False, epochs=False, status="running")


def test_the_page_is_drawn_again_when_a_trial_finishes(run: RunFolder) -> None:
    clock = Clock()
    live = LivePage(run, clock)
    first, version = live.page(), live.version()
    assert "4 finished" in first
    assert f'data-version="{version}"' in first
    assert "connect-src 'self'" in first
    clock.now += 100
    assert live.version() == version, "nothing has changed"
    before = files_of(run)
    finish_another(run)
    before[str(run.trials)] = run.trials.read_bytes()
    assert live.version() != version
    second = live.page()
    assert "5 finished" in second
    assert f'data-version="{live.version()}"' in second
    assert files_of(run) == before, "nothing is written into the run folder"


def test_a_page_that_is_drawn_while_the_search_ends_does_not_replace_its_last_one(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``morel-search report`` reads the tables of a running search; it writes after the search has ended."""
    draw, calls = page._page, []

    def slow(*arguments: Any) -> str:
        drawn = draw(*arguments)
        calls.append(drawn)
        if len(calls) == 1:
            finish_another(run)
            page.write_report(run)  # by the search
        return drawn

    monkeypatch.setattr(page, "_page", slow)
    page.write_report(run)
    assert len(calls) == 3
    assert calls[0] != calls[1]
    assert run.report.read_text(encoding="utf-8") == calls[1] == calls[2]

    def changing(*arguments: Any) -> str:
        finish_another(run)
        return slow(*arguments)

    monkeypatch.setattr(page, "_page", changing)
    page.write_report(run)
    assert len(calls) == 3 + page.MOST_DRAWINGS, "it does not go on for ever"


def test_drawing_takes_a_small_share_of_the_time(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, drawn = Clock(), []

    def slow(_: RunFolder) -> str:
        drawn.append(clock.now)
        clock.now += 4
        return "<header></header><body></body>"

    monkeypatch.setattr("morel_search.analysis.report.live.report_text", slow)
    live = LivePage(run, clock)
    while clock.now < 200:
        live.page()
        finish_another(run)
        clock.now += 1
    gaps = [later - earlier for earlier, later in pairwise(drawn)]
    assert len(drawn) > 5
    assert min(gaps) >= max(LEAST_SECONDS, 4 / SHARE)


def test_a_damaged_table_leaves_the_page_and_is_named(run: RunFolder) -> None:
    clock = Clock()
    live = LivePage(run, clock)
    live.page()
    whole = run.trials.read_bytes()
    run.trials.write_text("number\n")
    clock.now += 100
    page = live.page()
    assert "4 finished" in page
    assert "could not be drawn again" in page
    assert "trials.csv is damaged" in page
    assert "could not be drawn again" in live.page(), "also for the next reader"
    run.trials.write_bytes(whole)
    clock.now += 100
    assert "could not be drawn again" not in live.page()


def test_a_page_that_was_never_drawn_says_why_and_comes_when_it_can(run: RunFolder) -> None:
    clock, whole = Clock(), run.trials.read_bytes()
    run.trials.write_text("number\n")
    live = LivePage(run, clock)
    page = live.page()
    assert f"<h1>{run.name}: there is no report yet</h1>" in page
    assert '<html lang="en">' in page
    assert re.search(r"The page could not be drawn: \S*trials\.csv is damaged", page)
    assert "connect-src 'self'" in page
    run.trials.write_bytes(whole)
    clock.now += 100
    assert "4 finished" in live.page()


@contextmanager
def serving(run: RunFolder) -> Iterator[int]:
    server = live_server(run, "127.0.0.1", 0)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(port: int, path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_every_file_to_which_the_page_links_is_served(run: RunFolder) -> None:
    for kind in ("pdf", "svg", "png"):
        run.write_text(run.figures / f"front.{kind}", kind)
    with serving(run) as port:
        page = ask(port, "/")[1].decode().partition("<script")[0]  # Plotly has links too
        links = re.findall(r'<a href="([^"#]+)"', page)
        assert {"trials.csv", "front.csv", "figures/front.pdf", "figures/front.png"} <= set(links)
        for link in links:
            assert ask(port, f"/{link}") == (200, (run.path / link).read_bytes())


def test_the_server_answers_with_the_page_its_files_and_nothing_else(run: RunFolder) -> None:
    with serving(run) as port:
        status, page = ask(port, "/")
        assert status == 200
        assert b"4 finished" in page
        version = ask(port, "/version")
        assert version[0] == 200
        assert b'data-version="' + version[1] + b'"' in page
        assert ask(port, "/trials.csv") == (200, run.trials.read_bytes())
        for path in (
            "/settings.json",
            "/study.db",
            "/../made/trials.csv",
            "/%2e%2e/x",
            "/front",
            "//etc/passwd",
        ):
            assert ask(port, path)[0] == 404, path
        assert ask(port, "/figures/front.pdf")[0] == 404
        (run.path.parent / "secret").write_text("secret", encoding="utf-8")
        for place in (run.path.parent / "secret", run.epochs):  # out of the folder, and to itself
            run.epochs.unlink(missing_ok=True)
            run.epochs.symlink_to(place)
            assert ask(port, "/epochs.csv")[0] == 404
        assert ask(port, "/", host=f"localhost:{port}")[0] == 200
        assert ask(port, "/", host="evil.example")[0] == 403
        assert ask(port, "/", method="POST")[0] == 501


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [
        ("GET / HTTP/1.1", "[", 403),
        ("GET / HTTP/1.1", "[::1", 403),
        ("GET / HTTP/1.1", "[::1]:80", 200),
        ("GET //[x HTTP/1.1", "localhost", 404),
        ("GET http://[x/ HTTP/1.1", "localhost", 404),
        ("GET /version?a=[ HTTP/1.1", "localhost", 200),
    ],
)
def test_a_malformed_request_is_answered(
    run: RunFolder, capfd: pytest.CaptureFixture[str], request_line: str, host: str, status: int
) -> None:
    with serving(run) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"{request_line}\r\nHost: {host}\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == str(status).encode()
    assert capfd.readouterr().err == ""


def test_a_reader_that_goes_away_is_no_traceback_and_a_bug_is(
    run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    with live_server(run, "127.0.0.1", 0) as server:
        for error in (ConnectionResetError(), BrokenPipeError(), TimeoutError()):
            try:
                raise error
            except OSError:
                server.handle_error(None, ("127.0.0.1", 1))  # type: ignore[arg-type]
        assert capfd.readouterr().err == ""
        try:
            raise KeyError("a bug")
        except KeyError:
            server.handle_error(None, ("127.0.0.1", 1))  # type: ignore[arg-type]
        assert "KeyError: 'a bug'" in capfd.readouterr().err


@pytest.mark.parametrize("host", ["", "a\udcff", "::g"])
def test_an_address_that_is_none_is_one_sentence(
    run: RunFolder, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert main(["watch", str(run.path), "--host", host, "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("machine.example", False),
    ],
)
def test_only_the_loopback_interface_needs_no_warning(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_new_mixtures_are_drawn(run: RunFolder) -> None:
    clock = Clock()
    live = LivePage(run, clock)
    live.page()
    seen = {live.version()}
    for text in ("{}", "{ }"):  # the second one replaces the first one, in the same folder
        run.write_text("mixtures/0+1@50/settings.json", text)
        clock.now += 100
        seen.add(live.version())
    assert len(seen) == 3


def test_a_port_that_is_in_use_is_one_sentence(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(run) as port:
        with pytest.raises(
            RunFolderError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"
        ):
            live_server(run, "127.0.0.1", port)
        assert main(["watch", str(run.path), "--port", str(port)]) == 2
    assert main(["watch", str(run.path), "--host", "no such host"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2
    assert all(line.startswith("morel_search: cannot listen on") for line in errors)


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_a_browser_loads_the_page_again(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial finishes after the browser has the first page."""
    monkeypatch.setattr("morel_search.analysis.report.live.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("morel_search.analysis.report.live.SHARE", 1e9)
    served: list[str] = []
    draw = LivePage.page

    def page_then_trial(live: LivePage) -> str:
        page = draw(live)
        served.append(page)
        if len(served) == 1:
            finish_another(run)
        return page

    monkeypatch.setattr(LivePage, "page", page_then_trial)
    with serving(run) as port:
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        dom, said = open_page(Address(port), tmp_path / "profile", rules)
    assert console(said) == []
    assert "4 finished" in served[0]
    assert len(served) == 2
    assert "5 finished" in dom
    assert 'data-drawn="yes"' in dom
