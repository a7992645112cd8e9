"""The command ``morel-search watch``: serve the report of a run while its search runs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, command, main_of, print_err, print_out

__all__ = ["main", "watch"]

DESCRIPTION = """\
Serve the report of a run in a browser, redrawn as trials finish.

RUN is the run's folder. Reads the folder, also from another shell or from another machine that has it, and
writes nothing into it. Needs neither torch nor Ray. Ctrl-C ends it; the search is not touched."""
EXAMPLES = """\
Examples:
  morel-search watch results/first
  morel-search watch results/first --port 9000
"""


@command(DESCRIPTION, EXAMPLES)
@click.argument("folder", type=PathText(), metavar="RUN")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address on which the page is served.")
@click.option("--port", type=click.IntRange(0, 65535), default=8722, help="Port; 0 takes a free one.")
def watch(*, folder: Path, host: str, port: int) -> int:
    """Serve the page until an interrupt."""
    from morel_search.analysis.report.live import is_loopback, live_server
    from morel_search.results.folder import open_run_folder

    if not host:
        raise click.UsageError("--host must be an address, such as 127.0.0.1")
    server = live_server(open_run_folder(folder), host, port)
    if not is_loopback(host):
        print_err(f"warning: everybody who reaches {host} can read this report; nothing is encrypted")
    shown = f"[{host}]" if ":" in host else host
    print_out(f"http://{shown}:{server.server_address[1]}/ (Ctrl-C ends it)")
    with server:
        server.serve_forever()
    return 0


main = partial(main_of, watch, "python -m morel_search.watch")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
