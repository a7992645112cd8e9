"""The user's own networks and losses: any error is one sentence, and code that never returns is ended."""

from __future__ import annotations

import itertools
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest

from morel_search import _user_code
from morel_search._consent import consent_to
from morel_search._user_code import cause_of, error_text, time_limit
from morel_search.cluster import test_scores, trainable
from morel_search.cluster.trainable import Job
from morel_search.cluster.trial_report import TrialReport
from morel_search.config import Space, load_space
from morel_search.errors import NetworkError, SpaceError, TrainingError
from morel_search.models.checkpoint import save_model
from morel_search.results.attack_names import WHITE_BOX
from morel_search.results.attack_records import COLUMNS, UNKNOWN
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.datasets.loading import load_test
from morel_search.training.networks import build_network
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings
from morel_search.training.step import MorelStep
from morel_search.verification import worker
from morel_search.workflows import network_checks, preflight

NUMBERS = itertools.count()
SPACES = Path(__file__).parents[1] / "search_spaces"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Base(BaseException):
    pass


def code(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module with a loss or a network; return its name, which no other test uses."""
    module = f"code_{next(NUMBERS)}"
    (folder / f"{module}.py").write_text(
        f"import os, sys, time\nimport torch\nfrom torch import nn\n{body}\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return module


def space_with_loss(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Space:
    """Return a small space whose accuracy objective is the function ``loss`` of this code."""
    overrides = ["data.limit=200", "network.options.width=4", "parameters.accuracy_loss=null"]
    overrides += ["parameters.beta.when=null", "parameters.loat_theta=null"]
    loss = f"{code(folder, body, monkeypatch)}:loss"
    return load_space(SPACES / "digits.yaml", [*overrides, f"train.accuracy_loss={loss}"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\n b"), "ValueError: a b"),
        (SystemExit(7), "SystemExit: 7"),
        (Base(), "Base"),
        (Unprintable(), "Unprintable: its text cannot be read"),
    ],
)
def test_any_error_is_one_line(error: BaseException, text: str) -> None:
    assert error_text(error) == text
    assert len(error_text(ValueError("z" * 1_000_000))) < 300


def sleep_for_ever(limit: float) -> None:
    with time_limit("the import of x", limit):
        while True:
            with suppress(Exception):
                time.sleep(600)


def test_code_that_never_returns_is_ended_and_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_user_code, "NOTE_SECONDS", 0.01)
    with pytest.raises(TrainingError, match="the import of x has not ended within 0 s"):
        sleep_for_ever(0.2)
    assert "waiting for the import of x (the limit is 0 s)" in capsys.readouterr().err


def test_code_that_catches_the_limit_ends_the_process() -> None:
    program = (
        "import time\nfrom morel_search import _user_code\n_user_code.GRACE_SECONDS = 0.1\n"
        "with _user_code.time_limit('x', 0.1):\n"
        "    while True:\n"
        "        try: time.sleep(600)\n"
        "        except BaseException: pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "morel_search: x has not ended within 0 s\n")


def test_an_alarm_of_before_still_rings() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    before = signal.setitimer(signal.ITIMER_REAL, 0.05)  # pytest-timeout's own
    try:
        with time_limit("x", 600), time_limit("inside", 0.001):
            time.sleep(0.1)
        time.sleep(0.05)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)
    assert rung == [1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(7)", "SystemExit: 7"),
        ("raise GeneratorExit('x')", "GeneratorExit: x"),
        ("return torch.tensor(3.0)", "must return a tensor with a gradient"),
        ("return None", "must return one number as a tensor, got NoneType$"),
        ("return 3.0", "must return one number as a tensor, got float$"),
        ("return torch.ones(8)", "must return one finite number, got tensor"),
        ("time.sleep(600)", "the check of the network small_cnn and the losses has not ended within 0 s"),
    ],
)
def test_a_loss_that_fails_before_the_search_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    space = space_with_loss(
        tmp_path, f"def loss(clean, adv, y, *, epoch, settings):\n    {body}", monkeypatch
    )
    if "sleep" in body:
        monkeypatch.setattr(network_checks, "time_limit", lambda what, _: time_limit(what, 0.2))
    with pytest.raises(TrainingError, match=reason):
        preflight.inspect(space)


LOSS = "def loss(clean, adv, y, *, epoch, settings):\n    return nn.functional.cross_entropy(adv, y)\n"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("'KL'", "must be one of cross_entropy, kl, margin, a function or None, got 'KL'$"),
        ("3", "must be one of cross_entropy, kl, margin, a function or None, got 3$"),
        (
            "lambda clean, adv, y, epoch, settings: 3.0",
            "must return one number, or one for each image, got float",
        ),
        ("lambda clean, adv, y, epoch, settings: adv", r"or one for each image, got \(8, 10\)$"),
        (
            "lambda clean, adv, y, epoch, settings: clean.sum()",
            "must depend on the adversarial logits, with a ",
        ),
        (
            "lambda clean, adv, y, epoch, settings: sys.exit(3)",
            "a first training step .* fails: SystemExit: 3",
        ),
        ("lambda adv: adv.sum()", "a first training step .* fails: TypeError"),
    ],
)
def test_a_wrong_attack_target_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, reason: str
) -> None:
    space = space_with_loss(tmp_path, f"{LOSS}loss.attack_target = {target}", monkeypatch)
    with pytest.raises(TrainingError, match=reason) as caught:
        preflight.inspect(space)
    assert space.train.accuracy_loss in str(caught.value)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "the training attack of {} maximises the cross entropy"),
        (
            "loss.attack_target = 'kl'",
            "the training attack of {} maximises the KL divergence from the clean prediction",
        ),
        (
            "def far(clean, adv, y, *, epoch, settings): return adv.sum()\nloss.attack_target = far",
            "the training attack of {} maximises far",
        ),
        (
            "loss.attack_target = None",
            "{} needs no attack; that of the robust objective maximises the cross entropy",
        ),
    ],
)
def test_the_attack_of_an_own_loss_is_a_note_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, text: str
) -> None:
    space = space_with_loss(tmp_path, LOSS + line, monkeypatch)
    assert text.format(space.train.accuracy_loss) in preflight.inspect(space).notes


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def __init__(self): sys.exit(3)", "fails with options {}: SystemExit: 3"),
        ("def __init__(self): raise GeneratorExit", "fails with options {}: GeneratorExit"),
        ("def __deepcopy__(self, memo): sys.exit(3)", "cannot be copied by copy.deepcopy: SystemExit: 3"),
        ("def forward(self, x): sys.exit(3)", "does not take images of 1 x 8 x 8: SystemExit: 3"),
    ],
)
def test_a_network_that_ends_the_program_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    name = code(tmp_path, f"class Net(nn.Module):\n    {body}", monkeypatch)
    with pytest.raises(NetworkError) as caught:
        build_network(NetworkSettings(name=f"{name}:Net"), (1, 8, 8), 10)
    assert reason in str(caught.value)


def test_a_network_that_fails_in_a_later_check_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.last = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        if len(x) > 2: raise Exception('too many')\n"
        "        return self.last(x.flatten(1))"
    )
    name = code(tmp_path, body, monkeypatch)
    space = load_space(SPACES / "digits.yaml", ["data.limit=200", f"network={{name: '{name}:Net'}}"])
    reason = f"the check of the network {name}:Net and the losses failed: Exception: too many"
    with pytest.raises(TrainingError, match=reason):
        preflight.inspect(space)


def test_a_bug_is_not_called_an_error_of_the_users_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_checks, "check_memory", lambda *_: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        preflight.inspect(load_space(SPACES / "digits.yaml", ["data.limit=200"]))


def test_a_bug_is_not_hidden_by_code_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = space_with_loss(tmp_path, LOSS, monkeypatch)
    module = {"__name__": "morel_search.training.step"}  # as if the mistake were in a module of the project
    exec("def bug(*_): return {}['a bug']", module)
    with monkeypatch.context() as patch:
        patch.setattr(network_checks, "check_memory", module["bug"])
        with pytest.raises(KeyError, match="a bug"):
            preflight.inspect(space)
    monkeypatch.setattr(MorelStep, "restore_weights", module["bug"])
    with pytest.raises(KeyError, match="a bug"):
        preflight.inspect(space)


def test_with_built_in_code_every_error_of_a_first_step_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MorelStep, "restore_weights", lambda _: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        preflight.inspect(load_space(SPACES / "digits.yaml", ["data.limit=200"]))


@pytest.mark.parametrize(
    ("body", "traceback"),
    [
        ("raise ValueError('mine')", False),
        ("return helper(adv)", False),
        ("return nn.functional.cross_entropy(adv[:, :2], y)", False),
        ("return Halved.apply(adv).sum()", False),
        ("loss = adv.exp(); total = loss.sum(); loss.mul_(2); return total", True),
    ],
)
def test_a_traceback_is_printed_only_where_no_line_of_the_user_took_part(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: str,
    traceback: bool,
) -> None:
    """The last body changes in place what the backward pass needs: torch raises the error, after the loss."""
    helper = "def helper(adv): return adv @ adv\n"
    halved = (
        "class Halved(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x / 2\n"
        "    @staticmethod\n    def backward(ctx, grad): raise RuntimeError('no gradient')\n"
    )
    space = space_with_loss(
        tmp_path, f"{helper}{halved}def loss(clean, adv, y, *, epoch, settings):\n    {body}", monkeypatch
    )
    with pytest.raises(TrainingError, match=r"a first training step .* fails: ") as caught:
        preflight.inspect(space)
    assert ("Traceback" in capsys.readouterr().err) == traceback
    assert ("the traceback above" in str(caught.value)) == traceback


@pytest.mark.parametrize(
    ("modules", "cause"),
    [
        (["morel_search.x", "mine.y", "morel_search.z"], "user"),
        (["morel_search.x", "timm.models"], "user"),
        (["morel_search.x", "torch.nn", "morel_search.z"], "project"),
        (["morel_search.x", "contextlib"], "unclear"),
        (["morel_search.x", "torch.nn"], "unclear"),
        (["morel_search.training.objectives"], "user"),
        (["__main__", "morel_search.x"], "user"),
    ],
)
def test_the_cause_of_an_error_is_read_from_its_traceback(modules: list[str], cause: str) -> None:
    def run(rest: list[str]) -> None:
        call = "run(rest[1:])" if rest[1:] else "raise TypeError"
        exec(call, {"__name__": rest[0], "run": run, "rest": rest})

    error: BaseException | None = None
    try:
        run(modules)
    except TypeError as raised:
        error = raised
    assert error is not None
    assert cause_of(strip(error), ["mine.nets:Net"]) == cause
    assert cause_of(error, []) == "project"


def strip(error: BaseException) -> BaseException:
    """The error without the frames of this file."""
    frames = []
    link = error.__traceback__
    while link is not None:
        if link.tb_frame.f_globals.get("__name__") != __name__:
            frames.append(link)
        link = link.tb_next
    kept = None
    for frame in reversed(frames):
        kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return error.with_traceback(kept)


@pytest.mark.parametrize("statement", ["sys.exit(7)", "raise ValueError(7)"])
def test_a_loss_that_fails_while_an_epoch_is_measured_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    body = (
        "def loss(clean, adv, y, *, epoch, settings):\n"
        f"    if len(y) > 8: {statement}\n"
        "    return nn.functional.cross_entropy(adv, y)"
    )
    space = space_with_loss(tmp_path, body, monkeypatch)
    compute = preflight.inspect(space).compute
    with pytest.raises(TrainingError, match=r"the measurement of an epoch failed: \w+: 7"):
        preflight.time_epoch(space, compute)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("adv.sum() * float('nan')", "diverged in epoch 1: the training loss is nan, and also with lr 1e-12"),
        ("Broken.apply(adv).mean()", "diverged in epoch 1: weights are no longer finite after its last step"),
    ],
)
def test_a_loss_that_is_the_cause_of_divergence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, error: str
) -> None:
    body = (
        "class Broken(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x * 1.0\n"
        "    @staticmethod\n    def backward(ctx, grad): return grad * float('nan')\n"
        "def loss(clean, adv, y, *, epoch, settings):\n"
        f"    return {value} if len(y) > 8 else nn.functional.cross_entropy(adv, y)"
    )
    space = space_with_loss(tmp_path, body, monkeypatch)
    with pytest.raises(TrainingError) as caught:
        preflight.time_epoch(space, FLOAT32, 1)
    assert error in str(caught.value)
    assert "so that the learning rate is not the cause; check " in str(caught.value)
    assert str(caught.value).endswith(space.train.accuracy_loss)


@pytest.mark.parametrize("own", [False, True])
def test_a_learning_rate_that_is_the_cause_of_divergence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own: bool
) -> None:
    space = space_with_loss(tmp_path, LOSS, monkeypatch)
    loss = space.train.accuracy_loss
    settings = replace(space.train, lr=1e30, optimizer="sgd", accuracy_loss=loss if own else "pgd")
    assert preflight.time_epoch(replace(space, train=settings), FLOAT32, 2) > 0
    warning = capsys.readouterr().err.strip()
    assert "lower train.lr if it is not searched" in warning
    assert warning.endswith(f" or check {loss}" if own else "searched")


def test_a_module_that_raises_anything_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpaceError, match="cannot be imported: GeneratorExit: x"):
        space_with_loss(tmp_path, "raise GeneratorExit('x')", monkeypatch)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    space = load_space(SPACES / "digits.yaml")
    return Job(
        number=0,
        seed=0,
        train=space.train,
        network=space.network,
        data=space.data,
        evaluation=space.evaluation,
        select_epoch=space.search.select_epoch,
        device="cpu",
        threads=1,
        folder=str(tmp_path),
    )


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), Base("x"), Unprintable()])
def test_a_training_that_raises_anything_is_a_failed_trial(
    monkeypatch: pytest.MonkeyPatch, job: Job, error: BaseException
) -> None:
    reports: list[TrialReport] = []
    monkeypatch.setattr("ray.tune.report", lambda values: reports.append(TrialReport.from_ray(values)))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(trainable, "train_job", fail)
    trainable.run_job({"job": job})
    (last,) = reports
    assert last.final
    assert type(error).__name__ in last.failure


def test_the_exit_with_which_ray_ends_a_trial_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    calls: list[object] = []

    def end(report: object) -> None:
        calls.append(report)
        raise SystemExit(0)

    monkeypatch.setattr("ray.tune.report", end)
    monkeypatch.setattr(trainable, "train_job", lambda _, report: report(TrialReport()))
    with pytest.raises(SystemExit):
        trainable.run_job({"job": job})
    assert len(calls) == 1


LATE_NETWORK = """
class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.last = nn.Linear(64, num_classes)
    def forward(self, x):
        x = x.flatten(1)
        if len(x) > 8:
            {late}
        return self.last(x)
"""


@pytest.mark.parametrize(
    ("late", "raised"),
    [
        (r"raise ValueError('only in the\n verification')", "ValueError: only in the verification"),
        ("return None", "TypeError: linear"),
        ("x = x[:, :3]", "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ("x = x.double()", "RuntimeError: mat1 and mat2 must have the same dtype"),
    ],
)
def test_a_network_that_fails_only_after_its_training_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str, raised: str
) -> None:
    """In the verification, and when the front is scored on the test split.

    Where torch raises the error, because of what the network computed before, the traceback is a note.
    """
    name = f"{code(tmp_path, LATE_NETWORK.format(late=late), monkeypatch)}:Net"
    settings, path = NetworkSettings(name=name), tmp_path / "model.pt"
    save_model(path, build_network(settings, (1, 8, 8), 10), settings, (1, 8, 8), list("0123456789"))
    consent = consent_to({"name": name})
    setup = worker.WorkerSetup(
        data=DataSettings(name="digits", limit=260, test_limit=20),
        evaluation=EvaluationSettings(epsilon=Fraction(1, 5), steps=2, final_steps=2),
        compute=FLOAT32,
        device="cpu",
        threads=1,
        seed=0,
        sources=(),
        consent=consent,
    )
    rows, table = np.arange(10), np.full((10, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    assert worker.describe_test_split(setup.data, str(path), consent).images == 20
    tasks: list[Callable[[], object]] = [
        lambda: worker.attack_chunk(str(path), WHITE_BOX, rows, table, 1.0, setup),
        lambda: worker.diagnose_network(str(path), rows, setup),
    ]
    for task in tasks:
        with pytest.raises(NetworkError, match=rf"the network in .*model\.pt raised {raised}") as caught:
            task()
        received = pickle.loads(pickle.dumps(caught.value))  # it comes from a worker
        notes = getattr(received, "__notes__", [])
        assert bool(notes) == (late[:5] != "raise")
        assert all("Traceback (most recent call last)" in note for note in notes)
    score = test_scores._score((3, 2), str(path), setup.data, setup.evaluation, FLOAT32, "cpu", 1, consent)
    assert f"model.pt raised {raised}" in str(score.result)
    monkeypatch.setattr(worker, "images_for", lambda *_: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        worker.diagnose_network(str(path), rows, setup)


SOMETIMES = """
class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.last = nn.Linear(64, num_classes)
    def forward(self, x):
        bright = x.flatten(1).sum(1) > 20.0
        return self.last(x.flatten(1)).masked_fill(bright.unsqueeze(1), float("inf"))

def whole(num_classes=10):
    return Net(num_classes), nn.Identity()
"""


def test_images_without_a_prediction_are_counted_when_the_front_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{code(tmp_path, SOMETIMES, monkeypatch)}:whole"
    settings, path = NetworkSettings(name=name), tmp_path / "model.pt"
    save_model(path, build_network(settings, (1, 8, 8), 10), settings, (1, 8, 8), list("0123456789"))
    data = DataSettings(name="digits", limit=260, test_limit=20)
    evaluation = EvaluationSettings(epsilon=Fraction(1, 5), steps=2, final_steps=2)
    bright = int((load_test(data).images.float().flatten(1).sum(1) / 255 > 20).sum())
    assert 0 < bright < 20
    score = test_scores._score(
        (3, 2), str(path), data, evaluation, FLOAT32, "cpu", 1, consent_to({"name": name})
    )
    assert score.problem == (
        f"the network in {path} gives logits that are not finite on {bright} of 20 test images, which count "
        "as misclassified"
    )
    assert isinstance(score.result, tuple)
    assert score.result[0] <= 1 - bright / 20
