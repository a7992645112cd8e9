"""The command line: all commands in one program, one sentence a mistake, defaults, completion."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
import pytest

import morel_search
from morel_search.__main__ import COMMANDS, SHELLS, main
from morel_search.__main__ import morel_search as program
from morel_search._cli import command, exit_code_of, main_of, print_err, terminate_as_interrupt
from morel_search.errors import NetworkError

ROOT = Path(__file__).parents[1]
EXAMPLE = str(ROOT / "results" / "example")


def run_module(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


def commands() -> dict[str, click.Command]:
    context = click.Context(program)
    commands = {name: program.get_command(context, name) for name in program.list_commands(context)}
    return {name: command for name, command in commands.items() if command is not None}


def test_the_program_has_every_command_and_each_is_a_module_too() -> None:
    assert [*COMMANDS] == [
        "init",
        "schema",
        "run",
        "report",
        "watch",
        "compare",
        "export",
        "track",
        "verify",
        "mix",
        "pick",
        "train",
    ]
    assert set(commands()) == {*COMMANDS, "completion"}
    for name in COMMANDS:
        assert (ROOT / "morel_search" / f"{name}.py").is_file()


def test_the_module_and_the_program_are_the_same() -> None:
    first, second = run_module("morel_search", "pick", "--help"), run_module("morel_search.pick", "--help")
    assert first.returncode == second.returncode == 0
    assert first.stdout.splitlines()[1:] == second.stdout.splitlines()[1:]


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_option_is_explained_with_its_default(name: str) -> None:
    command = commands()[name]
    text = command.get_help(click.Context(command, info_name=name, **command.context_settings))
    plain = re.sub(r"\s+", " ", text)
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        assert option.help, f"{name} {option.opts[0]} has no help"
        if option.is_flag or option.multiple or option.required:
            continue
        own = re.escape(option.opts[-1]) + r" .*?\[default: "
        rules = ("--robust-at-least", "--clean-at-least", "--weights", "--member", "--trials", "--seed")
        assert option.opts[-1] in rules or re.search(own, plain), f"{name} {option.opts[-1]} shows no default"


MISTAKES = [
    (["run"], 2, "missing option '--space'"),
    (["run", "--space"], 2, "option '--space' requires an argument"),
    (["run", "--spce", "x"], 2, "no such option '--spce'"),
    (["fly"], 2, "no such command 'fly'"),
    (["train", "x", "--seed", "-1"], 2, "-1 is not in the range"),
    (["train", "x", "--device", "tpu"], 2, "'tpu' is not one of"),
    (["pick", "x", "--weights", "a,b"], 2, "--weights must be two numbers"),
    (["pick", "x", "--clean-at-least", "85"], 2, "--clean-at-least must be a fraction from 0 to 1"),
    (["pick", "x", "--knee", "--member", "3"], 2, "--knee and --member exclude each other"),
    (["verify", "x", "--minutes", "0"], 2, "--minutes must be above 0"),
    (["report", "results/absent"], 2, "does not exist"),
    (["compare", EXAMPLE], 2, "give two to 8 run folders"),
    (["compare", EXAMPLE, EXAMPLE + "/"], 2, "is given twice"),
    (["completion", "tcsh"], 2, "'tcsh' is not one of"),
]


LONG, DEEP = "x" * 300, "/".join(["d" * 200] * 30)
SPACE = str(ROOT / "search_spaces" / "digits.yaml")


@pytest.mark.parametrize(
    "path", [LONG, DEEP, "loop", "zero\0byte", "file/inside", "s3://bucket/x"], ids=lambda path: path[:9]
)
@pytest.mark.parametrize(
    "words",
    [
        ["run", "--space", SPACE, "--dry-run", "--results"],
        ["run", "--space", SPACE, "--dry-run", "--resume", "--results"],
        ["run", "--space", SPACE, "--dry-run", "--resume", "--name"],
        ["run", "--dry-run", "--space"],
        ["report"],
        ["compare", str(ROOT / "results" / "example")],
        ["watch"],
        ["export"],
        ["export", str(ROOT / "results" / "example"), "--optuna"],
        ["verify"],
        ["pick"],
        ["pick", str(ROOT / "results" / "example"), "--out"],
        ["train"],
        ["train", str(ROOT / "tests" / "robust_network"), "--out"],
    ],
    ids=" ".join,
)
def test_a_path_that_cannot_be_used_is_one_sentence(
    words: Sequence[str],
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").touch()
    assert main([*words, path]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("morel_search: ")
    assert len(errors.strip().splitlines()) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.parametrize(("words", "code", "message"), MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    words: Sequence[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    errors = capsys.readouterr().err
    assert message.lower() in errors.lower()
    assert errors.startswith("morel_search: ")
    assert len(errors.strip().splitlines()) == 1


def test_the_form_of_earlier_versions_still_runs_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "absent.yaml"]) == 2
    errors = capsys.readouterr().err
    assert "write morel-search run --space FILE" in errors
    assert "absent.yaml" in errors


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_MOREL_SEARCH_COMPLETE" in script
    if shutil.which(shell):  # the shell itself reads it
        (tmp_path / "script").write_text(script, encoding="utf-8")
        checked = subprocess.run(
            [shell, "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


def test_completion_names_commands_and_options() -> None:
    program_words = {
        "COMP_WORDS": "morel-search ",
        "COMP_CWORD": "1",
        "_MOREL_SEARCH_COMPLETE": "bash_complete",
    }
    code = "from morel_search.__main__ import morel_search; morel_search(prog_name='morel-search')"
    environment = {**os.environ, **program_words}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    assert {line.partition(",")[2] for line in out.stdout.splitlines()} >= set(COMMANDS)
    environment |= {"COMP_WORDS": "morel-search run --sp", "COMP_CWORD": "2"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    assert "--space" in out.stdout


def test_the_public_interface_is_listed_and_typed(tmp_path: Path) -> None:
    assert set(morel_search.__all__) <= set(dir(morel_search))
    program = tmp_path / "typed.py"
    program.write_text(
        "import morel_search\n"
        "from morel_search.config import Space\n"
        "from morel_search.analysis.run_data import RunData\n"
        "from torch import nn\n"
        "space: Space = morel_search.load_space('x.yaml', ['train.epochs=3'])\n"
        "data: RunData = morel_search.run_search(space, name='first', results='results', resume=False)\n"
        "data = morel_search.load_results('results/first')\n"
        "model: nn.Module = morel_search.load_model('results/first/front/3')\n"
        "morel_search.load_model(3)\n",
        encoding="utf-8",
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    errors = [line for line in checked.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, checked.stdout
    assert "typed.py:9" in errors[0]
    assert "arg-type" in errors[0]


def test_importing_the_package_imports_none_of_its_dependencies() -> None:
    heavy = "{'torch', 'ray', 'pandas', 'optuna', 'click'}"
    code = f"import sys, morel_search; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_results_are_read_without_torch_and_ray() -> None:
    code = (
        "import sys, morel_search; data = morel_search.load_results('results/example'); "
        "print(len(data.front), sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    count, modules = out.stdout.split(maxsplit=1)
    assert int(count) > 0
    assert modules.strip() == "[]"


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler])
def test_sigterm_interrupts_also_where_a_shell_lets_ctrl_c_be_ignored(handler: signal.Handlers) -> None:
    """A shell that starts a command in the background does so."""

    def terminated() -> None:
        with terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            terminated()
    finally:
        signal.signal(signal.SIGINT, before)


def started(words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", words],
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this device")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("report nowhere 2> /dev/full", 2),
        ("report nowhere 2>&-", 2),
        ("completion bash > /dev/full", 0),
        ("completion bash >&-", 0),
        ("completion bash | true; exit ${PIPESTATUS[0]}", 0),
        ("--help > /dev/full", 0),
    ],
)
def test_output_that_cannot_be_written_is_no_traceback(words: str, code: int) -> None:
    ended = started(f'"$PYTHON" -m morel_search {words}')
    assert (ended.returncode, ended.stderr) == (code, "")


def test_a_broken_stream_does_not_end_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither prints nor a progress bar raise; the stream of before is there afterwards."""
    from tqdm import tqdm

    from morel_search._streams import lasting_output

    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with lasting_output():
            print_err("x" * 10_000)
            for _ in tqdm(range(3), file=sys.stderr, mininterval=0):
                print_err("y")
        assert sys.stderr is full
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


def test_a_deleted_current_folder_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    ended = started(f'cd {folder}; rmdir {folder}; "$PYTHON" -m morel_search report somewhere')
    assert ended.returncode == 2
    assert ended.stderr == (
        "morel_search: the current folder was deleted or cannot be read; change to another folder, then run "
        "the command again\n"
    )


def test_sigterm_ends_any_command_as_an_interrupt() -> None:
    """A command is interrupted before its search begins, too: 130, and no traceback."""
    program = (
        "import os, signal, sys, click\nfrom morel_search._cli import command, main_of\n"
        "@command('x')\ndef wait() -> int:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    import time; time.sleep(60)\n"
        "sys.exit(main_of(wait, 'wait', []))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (130, "morel_search: interrupted")


def test_the_end_of_a_file_is_no_interrupt() -> None:
    """Click treats EOFError as Ctrl-C; without a question to the user, it is a bug."""

    @command("x")
    def read() -> int:
        raise EOFError("Ran out of input")

    with pytest.raises(EOFError, match="Ran out of input"):
        main_of(read, "read", [])


def test_notes_of_a_mistake_come_before_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        error = NetworkError("the network raised TypeError")
        error.add_note("Traceback")
        raise error

    assert exit_code_of(run) == 2
    assert capsys.readouterr().err == "Traceback\nmorel_search: the network raised TypeError\n"
