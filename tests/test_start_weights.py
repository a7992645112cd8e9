"""``network.weights``: every training starts from the weights of a file, and the file is known again."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections import OrderedDict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from config_files import changed, load
from safetensors.torch import save_file
from torch import Tensor, nn
from trained_runs import DATA, EVALUATION, NETWORK, TRAIN, make_trained_run, train_trial

import morel_search
from morel_search.__main__ import main
from morel_search.cluster.tuner import job_maker
from morel_search.config.describe import changes
from morel_search.errors import NetworkError
from morel_search.models import checkpoint
from morel_search.results.renamed import current_space
from morel_search.search.controller import SearchController
from morel_search.search.study import TrialStore
from morel_search.training.datasets.loading import load_development
from morel_search.training.networks import Classifier, build_network
from morel_search.training.networks.start import start_from, with_fingerprint
from morel_search.training.settings import NetworkSettings
from morel_search.training.trainer import Training
from morel_search.workflows import preflight
from morel_search.workflows.request import Request

SHAPE = (3, 16, 16)

ROBUST = '''
import torch
from torch import nn

class Net(nn.Module):
    """Written as networks of RobustBench are: it normalises pixels with mu and sigma."""
    def __init__(self, num_classes=5, width=6, normalised=False):
        super().__init__()
        if normalised:
            self.register_buffer("mu", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
            self.register_buffer("sigma", torch.tensor([0.2, 0.25, 0.3]).view(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        if hasattr(self, "mu"):
            x = (x - self.mu) / self.sigma
        return self.fc(torch.relu(self.bn1(self.conv1(x))).mean((2, 3)))
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "robust_nets.py").write_text(ROBUST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def build(
    name: str, weights: object, classes: int = 5, shape: tuple[int, int, int] = SHAPE, **options: Any
) -> Classifier:
    torch.manual_seed(7)
    settings = NetworkSettings(name=name, options=options, weights=str(weights))
    return build_network(settings, shape, classes)


def trained(model: nn.Module) -> nn.Module:
    """Give batch normalisations statistics of their own, as a training does."""
    model.train()
    with torch.no_grad():
        model(images(8, *SHAPE))
    return model.eval()


def robust(**options: Any) -> Any:
    import robust_nets  # type: ignore[import-not-found]

    torch.manual_seed(3)
    return trained(robust_nets.Net(**options))


@pytest.mark.parametrize(
    "form", ["plain", "module", "module.model", "_orig_mod", "state_dict", "best_of_two", "safetensors"]
)
def test_a_state_dict_in_the_forms_in_which_others_write_it(form: str) -> None:
    theirs = robust()
    state = theirs.state_dict()
    content: object = state
    if form == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, "theirs.safetensors")
    elif form == "state_dict":
        content = {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}}
    elif form == "best_of_two":
        other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        content = {"model": state, "ema": other}
    elif form != "plain":
        content = OrderedDict((f"{form}.{name}", tensor) for name, tensor in state.items())
    if form != "safetensors":
        torch.save(content, "theirs.pt")
    model = build("robust_nets:Net", "theirs.safetensors" if form == "safetensors" else "theirs.pt").eval()
    x = images(3, *SHAPE)
    torch.testing.assert_close(model(x), theirs(x))


def test_a_file_of_an_old_torch_without_counters_is_read() -> None:
    theirs = robust()
    state = {name: value for name, value in theirs.state_dict().items() if "num_batches" not in name}
    torch.save(state, "old.pt", _use_new_zipfile_serialization=False)
    x = images(3, *SHAPE)
    torch.testing.assert_close(build("robust_nets:Net", "old.pt").eval()(x), theirs(x))


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_normalisation_of_a_file_is_that_of_the_network(wrapped: bool) -> None:
    theirs = robust(normalised=True)
    state = theirs.state_dict()
    if wrapped:  # as networks for ImageNet are stored
        state = {
            {"mu": "normalize.mean", "sigma": "normalize.std"}.get(name, f"model.{name}"): value
            for name, value in state.items()
        }
    torch.save(state, "theirs.pt")
    x = images(3, *SHAPE)
    torch.testing.assert_close(build("robust_nets:Net", "theirs.pt").eval()(x), theirs(x))
    same = build("robust_nets:Net", "theirs.pt", mean=[0.4, 0.5, 0.6]).eval()
    torch.testing.assert_close(same(x), theirs(x))
    sentence = (
        r"cannot start from theirs.pt: its weights were trained with the mean \[0.4, 0.5, 0.6\]; remove"
    )
    with pytest.raises(NetworkError, match=sentence):
        build("robust_nets:Net", "theirs.pt", mean=0.5)


def test_networks_of_torchvision_in_colour_and_in_grey() -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(num_classes=5).eval()
    torch.save(theirs.state_dict(), "theirs.pth")
    x = images(2, *SHAPE)
    torch.testing.assert_close(build("torchvision/resnet18", "theirs.pth").eval()(x), theirs(2 * x - 1))
    grey = build("torchvision/resnet18", "theirs.pth", shape=(1, 16, 16)).eval()
    torch.testing.assert_close(grey(x[:, :1]), theirs(2 * x[:, :1].expand(-1, 3, -1, -1) - 1))


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_networks_of_timm(name: str) -> None:
    import timm

    sizes = {"img_size": [32, 32]} if name == "test_vit" else {}
    theirs = timm.create_model(name, num_classes=5, **sizes).eval()
    torch.save({"state_dict": theirs.state_dict()}, "theirs.pt")
    x = images(2, 3, 32, 32)
    model = build(f"timm/{name}", "theirs.pt", shape=(3, 32, 32)).eval()
    torch.testing.assert_close(model(x), theirs(2 * x - 1))


def test_a_head_for_other_classes_is_drawn_anew_and_the_rest_is_loaded() -> None:
    theirs = robust()
    torch.save(theirs.state_dict(), "theirs.pt")
    settings = NetworkSettings(name="robust_nets:Net", weights="theirs.pt")
    torch.manual_seed(7)
    model = build_network(settings, SHAPE, 4)
    torch.manual_seed(7)
    fresh = build_network(replace(settings, weights=None), SHAPE, 4)
    torch.testing.assert_close(model.head.weight, fresh.head.weight)
    torch.testing.assert_close(model.encoder[1].conv1.weight, theirs.conv1.weight)
    note = start_from(model, settings)
    assert note == (
        "every training starts from theirs.pt; the head is drawn anew, because the file has one of the shape "
        "(5, 6)"
    )
    encoder = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc")}
    torch.save(encoder, "encoder.pt")
    assert start_from(model, replace(settings, weights="encoder.pt")).endswith("because the file has none")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    train_trial(folder / "trial", train=replace(TRAIN, epochs=1))
    return make_trained_run(folder, folder / "trial" / "model.pt").path


@pytest.mark.parametrize("picked", [False, True])
def test_a_network_of_this_project_continues_where_it_was(run_folder: Path, picked: bool) -> None:
    source = run_folder / "front" / "1"
    if picked:
        assert main(["pick", str(run_folder), "--member", "1", "--out", "picked"]) == 0
        source = Path("picked")
    before = morel_search.load_model(source)
    settings = replace(NETWORK, weights=str(source))
    training = Training(TRAIN, settings, load_development(DATA), EVALUATION, seed=0)
    x = images(5, 1, 8, 8)
    torch.testing.assert_close(training.model.eval()(x), before(x))
    with pytest.raises(NetworkError, match=r"cannot start from .*: encoder\..* must have the shape"):
        build_network(replace(settings, options={"width": 5}), (1, 8, 8), 10)


def test_the_saved_network_is_built_without_the_file(tmp_path: Path) -> None:
    torch.save(robust(normalised=True).state_dict(), "theirs.pt")
    settings = with_fingerprint(NetworkSettings(name="robust_nets:Net", weights="theirs.pt"))
    model = build_network(settings, SHAPE, 5).eval()
    checkpoint.save_model(tmp_path / "model.pt", model, settings, SHAPE, [*"abcde"])
    Path("theirs.pt").unlink()
    loaded, _ = checkpoint.load_model(tmp_path / "model.pt", morel_search._consent.ALL_CODE)
    x = images(2, *SHAPE)
    torch.testing.assert_close(loaded(x), model(x))


def changed_state(**values: Tensor | None) -> dict[str, Tensor]:
    state = {**robust().state_dict(), **values}
    return {name: value for name, value in state.items() if value is not None}


FAULTS: dict[str, tuple[Any, str]] = {
    "shape": (
        lambda: changed_state(**{"conv1.weight": torch.zeros(9, 3, 3, 3)}),
        "must have the shape (6, 3, 3, 3), got (9, 3, 3, 3)",
    ),
    "lacks": (
        lambda: changed_state(**{"conv1.weight": None}),
        "it lacks 1 of 11 tensors of the network, such as encoder.1.conv1.weight",
    ),
    "more": (
        lambda: changed_state(**{"layer9.weight": torch.zeros(3)}),
        "it has tensors that the network lacks (1), such as layer9.weight",
    ),
    "nan": (
        lambda: changed_state(**{"bn1.bias": torch.full((6,), torch.nan)}),
        "encoder.1.bn1.bias has values that are not finite",
    ),
    "number": (lambda: {"epoch": 3}, "it must hold the state dict of one network, directly or below"),
    "list": (lambda: [1, 2], "it must hold the state dict of one network"),
    "several": (
        lambda: {"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}},
        "it has several, a, b",
    ),
    "code": (
        lambda: {"state_dict": robust().state_dict(), "args": Path("x")},
        "holds more than tensors and plain values",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_do_not_fit_are_one_sentence(fault: str) -> None:
    content, sentence = FAULTS[fault]
    torch.save(content(), "theirs.pt")
    with pytest.raises(NetworkError) as raised:
        build("robust_nets:Net", "theirs.pt")
    assert str(raised.value).startswith("network robust_nets:Net cannot start from theirs.pt: ")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return (open, ("ran", "w"))


def test_files_that_are_none_are_one_sentence_and_run_nothing(folder: Path) -> None:
    (folder / "evil.pt").write_bytes(pickle.dumps({"x": Evil()}))
    (folder / "text.pt").write_text("weights")
    (folder / "text.safetensors").write_text("weights")
    (folder / "empty").mkdir()
    for name, sentence in {
        "evil.pt": "cannot start from evil.pt",
        "text.pt": "cannot start from text.pt",
        "text.safetensors": "cannot be read",
        "empty": "a folder without model.safetensors and model.pt",
        "missing.pt": "is missing: no such file",
        "/dev/null": "not a file or a folder",
        "a\0b": "not a path that can be used",
        "x" * 5000: "not a path that can be used",
    }.items():
        with pytest.raises(NetworkError) as raised:
            build("robust_nets:Net", name)
        assert sentence in str(raised.value)
        assert len(str(raised.value)) < 400
    assert not (folder / "ran").exists()


def digits_space(folder: Path, *overrides: str) -> Any:
    words = ["network.name=small_cnn", "network.options={width: 4}", "data.limit=300", *overrides]
    return load(folder, changed(), words)


def small_weights(folder: Path, seed: int, name: str = "start.pt") -> Path:
    torch.manual_seed(seed)
    model = build_network(NETWORK, (1, 8, 8), 10)
    checkpoint.save_model(folder / name, model, NETWORK, (1, 8, 8), list("0123456789"))
    return folder / name


def test_a_resumed_search_refuses_another_file(folder: Path) -> None:
    small_weights(folder, 0)
    space = digits_space(folder, "network.weights=start.pt")
    request = Request(space=space, name="run", results=folder)
    first = request.noted().space
    digest = hashlib.sha256((folder / "start.pt").read_bytes()).hexdigest()
    assert first.network.weights_sha256 == digest
    assert changes(first.identity(), request.noted().space.identity()) == []
    small_weights(folder, 1)
    (sentence,) = changes(first.identity(), request.noted().space.identity())
    assert sentence.startswith(f"network.weights_sha256 was {digest} and is ")
    with pytest.raises(NetworkError, match="is another file than that of its settings: the SHA-256 is"):
        build_network(first.network, (1, 8, 8), 10)
    with pytest.raises(NetworkError, match=r"network small_cnn has weights start.pt, which is another file"):
        replace(request, space=first).noted()
    (folder / "start.pt").unlink()
    with pytest.raises(NetworkError, match=r"network small_cnn has weights start.pt, which is missing"):
        request.noted()


def test_a_search_that_knew_no_weights_is_continued(folder: Path) -> None:
    now = digits_space(folder)
    old = now.identity()
    network = old["network"]
    assert isinstance(network, dict)
    old["network"] = {key: value for key, value in network.items() if not key.startswith("weights")}
    assert changes(current_space(old), now.identity()) == []


def test_trials_get_an_absolute_path(folder: Path) -> None:
    small_weights(folder, 0)
    space = (
        Request(space=digits_space(folder, "network.weights=start.pt"), name="run", results=folder)
        .noted()
        .space
    )
    controller = SearchController.begin(space, TrialStore.of_file(folder / "study.db", "run"))
    assignment = controller.next()
    assert assignment is not None
    job = job_maker(space, folder / "run")(assignment)
    assert job.network.weights == str(folder / "start.pt")
    assert job.network.weights_sha256 == space.network.weights_sha256


def test_the_dry_run_says_what_trainings_start_from(folder: Path) -> None:
    small_weights(folder, 0)
    space = digits_space(folder, "network.weights=start.pt")
    assert "every training starts from start.pt" in preflight.inspect(space).notes
    searched = load(
        folder,
        changed(parameters={"network.options.width": {"type": "int", "low": 4, "high": 8}}),
        [
            "network.name=small_cnn",
            "network.weights=start.pt",
            "network.options={width: 4}",
            "data.limit=300",
        ],
    )
    with pytest.raises(NetworkError, match=r"with width 5, which the search can propose|with width 8"):
        preflight.inspect(searched)


def test_trainings_from_the_same_weights_and_seed_are_equal(folder: Path) -> None:
    small_weights(folder, 0)
    torch.manual_seed(0)
    network = with_fingerprint(replace(NETWORK, weights=str(folder / "start.pt")))
    tiny = replace(TRAIN, epochs=1, epsilon=Fraction(1, 50))
    results = [
        [result.loss for result in Training(tiny, settings, load_development(DATA), EVALUATION, seed=3)]
        for settings in (NETWORK, network, network)
    ]
    assert results[0] != results[1] == results[2]
