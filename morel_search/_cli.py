"""What all commands share: parsing, printing, exit codes, signals."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from morel_search._compile_cache import use_private_folder
from morel_search._format import printable
from morel_search._streams import lasting_output
from morel_search._version import __version__
from morel_search.errors import MorelSearchError

__all__ = [
    "INTERRUPTED",
    "RAY_LOST",
    "PathText",
    "add_working_directory",
    "command",
    "device_option",
    "exit_code_of",
    "main_of",
    "print_err",
    "print_out",
    "quiet_flag",
    "terminate_as_interrupt",
    "trust_flag",
]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

RAY_LOST = 3
"""Exit code after the loss of Ray: one of its processes has died, or the cluster is gone."""

CONTEXT = {"show_default": True, "max_content_width": 100, "help_option_names": ["-h", "--help"]}


ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
"""Begins the address of an object store, such as ``s3://bucket/results``."""


class PathText(click.Path):
    """A path on the command line; refuses one with a zero byte, and the address of an object store."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path."""
        if "\0" in os.fspath(value):
            self.fail("a path must not contain a zero byte", param, ctx)
        if ADDRESS.match(os.fspath(value)):
            self.fail(
                f"{value} is an address, but only files and folders can be used; mount the store as a folder",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


def command(description: str, examples: str = "") -> Callable[[Callable[..., int]], click.Command]:
    """Make a function a command that has ``--help`` with defaults and ``--version``.

    Args:
        description: First paragraph of the help.
        examples: Text below the options, printed line by line as it is.
    """
    epilog = "\b\n" + examples.strip().replace("\n\n", "\n\n\b\n") if examples else None

    def make(function: Callable[..., int]) -> click.Command:
        version = click.version_option(__version__, message="morel_search %(version)s")
        return click.command(help=description, epilog=epilog, context_settings=CONTEXT)(version(function))

    return make


def trust_flag(function: Callable[..., int]) -> Callable[..., int]:
    """Add the option ``--trust`` to a command that reads a folder."""
    return click.option(
        "--trust",
        "trust_code",
        is_flag=True,
        help="Run code that the folder names: networks and losses by import path (package.module:name). Read "
        "this code first.",
    )(function)


def quiet_flag(function: Callable[..., int]) -> Callable[..., int]:
    """Add the option ``--quiet`` to a command."""
    return click.option(
        "-q", "--quiet", is_flag=True, help="Print only warnings, errors and the path of the result."
    )(function)


def device_option(automatic: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add the option ``--device`` to a command; the text says what ``auto`` takes."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        help=f"Device; auto takes {automatic}.",
    )


def main_of(tool: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Parse a command line, run the command, and return its exit code.

    Args:
        tool: The command.
        program: Its name in the help.
        arguments: The words of the command line; None takes those of the process.

    Returns:
        What the command returns; 2 after a mistake of the user, which one sentence on the error stream
        explains; 130 after an interrupt.
    """

    def run() -> int:
        _check_working_directory()
        use_private_folder()
        try:
            code = tool.main(args=arguments, prog_name=program, standalone_mode=False)
        except click.Abort as error:  # click's form of KeyboardInterrupt, and of EOFError, which is a bug
            if isinstance(error.__cause__, EOFError):
                raise error.__cause__ from None
            raise KeyboardInterrupt from error
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            path = program if context is None else context.command_path
            message = error.format_message().rstrip(".")
            raise MorelSearchError(f"{message[:1].lower()}{message[1:]}; see {path} --help") from error
        return code if isinstance(code, int) else 0

    def run_interruptible() -> int:
        with terminate_as_interrupt():
            return run()

    with lasting_output():
        return exit_code_of(run_interruptible)


def _check_working_directory() -> None:
    """Refuse a current folder that was deleted: no relative path has a meaning there.

    Raises:
        MorelSearchError: It was deleted, or cannot be entered.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise MorelSearchError(
            "the current folder was deleted or cannot be read; change to another folder, then run the "
            "command again"
        ) from error


def exit_code_of(run: Callable[[], int]) -> int:
    """Run a function and return its exit code.

    A :class:`MorelSearchError` is printed on the error stream and gives 2, an interrupt gives 130; any other
    exception is a bug and passes with its traceback. Notes of the error are printed before it.
    """
    try:
        return run()
    except MorelSearchError as error:
        for note in getattr(error, "__notes__", ()):
            print_err(note)
        print_err(f"morel_search: {error}")
        return 2
    except KeyboardInterrupt:
        print_err("morel_search: interrupted")
        return INTERRUPTED


def add_working_directory() -> None:
    """Make modules of the current folder importable: own networks and losses, also for the console script."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C. Outside the main thread Python receives no signals, and nothing changes.

    A shell lets a process that it starts in the background ignore Ctrl-C; SIGTERM interrupts it all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGINT)  # Ray Tune handles it in its own way

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def print_out(text: str) -> None:
    """Print on standard output and flush, because standard output may be a pipe.

    Control characters, which a name in a folder may hold, are printed as escapes.
    """
    click.echo(printable(text, keep="\n\t"))


def print_err(text: str) -> None:
    """Print on the error stream; see :func:`print_out`."""
    click.echo(printable(text, keep="\n\t"), err=True)
