"""The command ``morel-search``, also ``python -m morel_search``: every command under one name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click
from click.shell_completion import get_completion_class

from morel_search._cli import CONTEXT, main_of, print_err, print_out
from morel_search._version import __version__

__all__ = ["main"]

COMMANDS = {
    "init": "Write a commented space file to start from.",
    "schema": "Print the JSON Schema of a space file, for editors.",
    "run": "Run a search, from its space file to its report.",
    "report": "Draw the report of a run again.",
    "watch": "Serve the report of a run while its search runs.",
    "compare": "Compare the fronts, the cost and the settings of several runs.",
    "export": "Write a run as a study for Optuna's own tools, in real units.",
    "track": "Send a run to TensorBoard, MLflow or Weights & Biases.",
    "verify": "Attack the networks of a run's front with strong attacks on the test split.",
    "mix": "Make mixtures of two networks of the front, without training.",
    "pick": "Take one network of the front and write it as a folder of its own.",
    "train": "Train the configuration of one network again.",
}
"""Name of a command, and of its module, to its line in the help."""

COMPLETION = "completion"
SHELLS = ("bash", "zsh", "fish")


class _Commands(click.Group):
    """Imports the module of a command only where that command, or its own help, is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Name all commands, in the order in which they are used."""
        return [*COMMANDS, COMPLETION]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"morel_search.{cmd_name}")
            tool: click.Command = getattr(module, cmd_name)
            return tool
        return super().get_command(ctx, cmd_name)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), (COMPLETION, "Print the completion script of a shell.")])


@click.group(
    cls=_Commands,
    context_settings=CONTEXT,
    help="Find the trade-off between clean and robust accuracy of MOREL trainings.",
    epilog="morel-search COMMAND --help explains a command. Each command is also a module: "
    "python -m morel_search.run.",
)
@click.version_option(__version__, message="morel_search %(version)s")
def morel_search() -> None:
    """Hold the commands."""


@morel_search.command(
    COMPLETION,
    help="Print the script that completes morel-search in a shell.\n\n"
    'bash: eval "$(morel-search completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc; '
    "fish: morel-search completion fish > ~/.config/fish/completions/morel-search.fish",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None, "click completes these shells"
    print_out(kind(morel_search, {}, "morel-search", "_MOREL_SEARCH_COMPLETE").source())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    ``morel-search --space FILE``, the form of earlier versions, still runs a search.

    Args:
        arguments: The words of the command line; None takes those of the process.

    Returns:
        The command's exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0].startswith("-") and any(word.split("=")[0] == "--space" for word in words):
        print_err("warning: morel-search has commands now; write morel-search run --space FILE")
        words.insert(0, "run")
    return main_of(morel_search, "morel-search", words)


if __name__ == "__main__":
    sys.exit(main())
