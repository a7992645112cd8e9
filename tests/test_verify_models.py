"""``morel-search verify --model``: networks that no search trained, by the same attacks and rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from image_files import encoded

from morel_search.__main__ import main
from morel_search.analysis.intervals import wilson
from morel_search.results.attack_records import read_record
from morel_search.results.folder import RunFolder
from morel_search.training.datasets.loading import load_test
from morel_search.training.settings import DataSettings, NetworkSettings
from morel_search.verification import chunks

ROOT = Path(__file__).parents[1]
DIGITS = str(ROOT / "search_spaces" / "digits.yaml")

NETWORKS = '''
import torch
from torch import nn

class Linear(nn.Module):
    """The nearest of the mean images of the classes, which is a linear classifier."""
    def __init__(self, scale=1.0):
        super().__init__()
        from morel_search.training.augment import to_float
        from morel_search.training.datasets.loading import load_development
        from morel_search.training.settings import DataSettings
        train = load_development(DataSettings(name="digits")).train
        images = to_float(train.images).flatten(1)
        means = torch.stack([images[train.labels == label].mean(0) for label in range(10)])
        self.linear = nn.Linear(64, 10)
        with torch.no_grad():
            self.linear.weight.copy_(2 * scale * means)
            self.linear.bias.copy_(-scale * means.square().sum(1))

    def forward(self, images):
        return self.linear(images.flatten(1))

class Rounded(Linear):
    """It rounds pixels, which has no gradient: its robustness under white-box attacks is not real."""
    def forward(self, images):
        return super().forward((4 * images).round() / 4)

class Pair(Linear):
    def forward(self, images):
        return super().forward(images), images

class Batch(Linear):
    def forward(self, images):
        return super().forward(images - images.mean(0, keepdim=True))

class NotFinite(Linear):
    def forward(self, images):
        return super().forward(images) / 0

class Bright(Linear):
    """It has no prediction for images that are brighter than those of the checks and of the diagnosis."""
    limit = 64.0
    def forward(self, images):
        bright = images.flatten(1).sum(1) > self.limit
        return super().forward(images).masked_fill(bright.unsqueeze(1), float("nan"))

class Rare(Linear):
    """It fails in the pass of an attack, which is that with more than the eight images of the checks."""
    error = ValueError("no attacks here")
    def forward(self, images):
        if len(images) > 8:
            raise self.error
        return super().forward(images)

class Extra(Linear):
    """Its state has a value that is no tensor."""
    def get_extra_state(self):
        return {"version": 2}

    def set_extra_state(self, state):
        pass

class Exit(Rare):
    error = SystemExit("no attacks here")

class NoGrad(Linear):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)

class Detached(Linear):
    """Its weights have gradients, its images have none."""
    def forward(self, images):
        return super().forward(images.detach())

def four():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "verified_networks.py").write_text(NETWORKS)
    yield tmp_path
    sys.modules.pop("verified_networks", None)


def verify(*words: str, images: int = 40) -> int:
    return main(["verify", "--data", DIGITS, "--images", str(images), "-q", *words])


SMALL = ["--set", "evaluation.epsilon=1/20"]


def test_a_linear_network_is_as_robust_as_its_closed_form_says(folder: Path) -> None:
    """Under linf, each margin of a linear network falls by epsilon times the l1 norm of its gradient."""
    assert verify("--model", "verified_networks:Linear", *SMALL, images=20) == 0
    (row,) = pd.read_csv("verified/verified.csv").to_dict("records")
    model = sys.modules["verified_networks"].Linear()
    test = load_test(DataSettings(name="digits"))
    rows = np.random.default_rng(0).permutation(len(test))[:20]
    images, labels = test.images[rows].float().flatten(1) / 255, test.labels[rows]
    weight, logits = model.linear.weight.detach(), model(images).detach()
    own = logits.gather(1, labels.unsqueeze(1))
    # The largest change of each logit difference, without the limits of the pixel range: a lower bound.
    change = 0.05 * (weight.unsqueeze(0) - weight.unsqueeze(1)).abs().sum(2)[labels]
    others = torch.arange(10).unsqueeze(0) != labels.unsqueeze(1)
    surely = ((own - logits - change > 0) | ~others).all(1)
    # With the limits: a pixel moves to the end of its interval within [0, 1]; this is exact for each class.
    difference = weight.unsqueeze(0) - weight[labels].unsqueeze(1)
    moved = torch.where(
        difference > 0, (images + 0.05).clamp(max=1).unsqueeze(1), (images - 0.05).clamp(min=0).unsqueeze(1)
    )
    worst = logits - own + (difference * (moved - images.unsqueeze(1))).sum(2)
    robust = ((worst < 0) | ~others).all(1)
    assert surely.sum() <= robust.sum() < 20
    assert row["robust_accuracy"] == pytest.approx(float(robust.float().mean()))
    assert row["clean_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert (row["robust_low"], row["robust_high"]) == pytest.approx(wilson(int(robust.sum()), 20))
    assert (row["name"], row["images"], row["late_images"]) == ("Linear", 20, 20)


def test_several_networks_are_compared_and_a_masked_one_is_flagged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--model", "verified_networks:Linear", "--model", "verified_networks:Rounded", *SMALL]
    assert main(["verify", "--data", DIGITS, "--images", "16", *words]) == 0
    table = pd.read_csv("verified/verified.csv").set_index("name")
    assert list(table.index) == ["Linear", "Rounded"]
    assert table.loc["Rounded", "verdict"] == "flagged"
    assert pd.isna(table.loc["Linear", "flags"])
    assert (table["images_transfer"] > 0).all()
    out = capsys.readouterr().out
    assert "verified on 16 of 359 images of the test split" in out
    assert "Rounded: " in out
    assert "validation" not in out.split("attacks:")[1]
    assert "search" not in out


def test_logits_that_are_not_finite_after_the_checks_count_as_wrong_and_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import verified_networks

    test = load_test(DataSettings(name="digits"))
    rows = np.random.default_rng(0).permutation(len(test))[:40]
    sums = test.images.float().flatten(1).sum(1) / 255
    seen = torch.cat([sums[:8], sums[rows[:5]]])
    monkeypatch.setattr(verified_networks.Bright, "limit", float(seen.max()) + 0.01)
    monkeypatch.setattr(chunks, "DIAGNOSED_IMAGES", 5)
    bright = int((sums[rows] > verified_networks.Bright.limit).sum())
    assert 0 < bright < 20
    assert verify("--model", "verified_networks:Bright", *SMALL) == 0
    (row,) = pd.read_csv("verified/verified.csv").to_dict("records")
    assert f"logits are not finite on {bright} of 40 images, which count as misclassified" in row["flags"]
    assert row["clean_accuracy"] <= 1 - bright / 40
    record = read_record(RunFolder(folder / "verified"), "Bright")
    assert record is not None
    assert len(record.not_finite) == bright, "a verification that continues knows them"


def test_a_verification_is_continued_and_belongs_to_its_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from morel_search.verification import models

    called: list[tuple[str, ...]] = []
    run_attacks = models.run_attacks

    def counted(suite: Any, stages: tuple[str, ...], *rest: Any) -> Any:
        called.append(stages)
        return run_attacks(suite, stages, *rest)

    monkeypatch.setattr(models, "run_attacks", counted)
    assert verify("--model", "verified_networks:Linear", *SMALL, images=5) == 0
    first = len(called)
    before = pd.read_csv("verified/verified.csv")
    assert verify("--model", "verified_networks:Linear", *SMALL, images=5) == 0
    assert len(called) == first, "nothing is left to do"
    pd.testing.assert_frame_equal(pd.read_csv("verified/verified.csv"), before)
    monkeypatch.setattr(sys.modules["verified_networks"].Linear.__init__, "__defaults__", (2.0,))
    assert verify("--model", "verified_networks:Linear", *SMALL, images=5) == 0
    assert len(called) > first, "the weights are others"
    assert (RunFolder(folder / "verified").verification / "Linear.json").exists()


def test_finished_results_are_kept_when_the_attacks_the_weights_or_the_networks_are_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder of the results has a default name, and networks of two modules may have one name."""
    out, records = folder / "verified", folder / "verified" / "verification"

    def results(stem: str, table: str) -> list[bytes]:
        return [
            *((records / f"{stem}{ending}").read_bytes() for ending in (".csv", ".json")),
            (out / table).read_bytes(),
        ]

    assert verify("--model", "verified_networks:Linear", *SMALL, images=5) == 0
    first = results("Linear", "verified.csv")
    assert verify("--model", "verified_networks:Linear", "--set", "evaluation.epsilon=1/10", images=5) == 0
    assert results("earlier/Linear", "verified.earlier.csv") == first
    assert "the earlier results are in" in capsys.readouterr().err
    second = results("Linear", "verified.csv")
    assert second[1] != first[1]
    monkeypatch.setattr(sys.modules["verified_networks"].Linear.__init__, "__defaults__", (2.0,))
    assert verify("--model", "verified_networks:Linear", "--set", "evaluation.epsilon=1/10", images=5) == 0
    assert results("earlier/Linear-2", "verified.earlier-2.csv") == second
    assert results("earlier/Linear", "verified.earlier.csv") == first
    third = (out / "verified.csv").read_bytes()
    assert verify("--model", "verified_networks:Rounded", *SMALL, images=5) == 0
    assert (out / "verified.earlier-3.csv").read_bytes() == third
    capsys.readouterr()
    assert verify("--model", "verified_networks:Rounded", *SMALL, images=5) == 0
    assert not (out / "verified.earlier-4.csv").exists(), "the same verification is continued"
    assert "earlier" not in capsys.readouterr().err


def test_a_table_of_the_user_is_kept(folder: Path) -> None:
    (folder / "verified.csv").write_text("house,verified\n3,yes\n")
    assert verify("--model", "verified_networks:Linear", *SMALL, "--out", ".", images=5) == 0
    assert (folder / "verified.earlier.csv").read_text() == "house,verified\n3,yes\n"
    assert list(pd.read_csv("verified.csv")["name"]) == ["Linear"]


def test_a_network_of_this_project_from_its_folder(folder: Path) -> None:
    from morel_search.models.load import weights_bytes
    from morel_search.training.networks import build_network

    (folder / "12").mkdir()
    settings = NetworkSettings(name="small_cnn", options={"width": 4})
    model = build_network(settings, (1, 8, 8), 10)
    (folder / "12/model.safetensors").write_bytes(weights_bytes(model))
    (folder / "12/settings.json").write_text(
        '{"format": 1, "network": {"name": "small_cnn", "options": {"width": 4}}, "image_shape": [1, 8, 8], '
        '"classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]}'
    )
    assert verify("--model", "12", "--out", "there", images=10) == 0
    assert list(pd.read_csv("there/verified.csv", dtype=str)["name"]) == ["12"]


@pytest.mark.parametrize("name", ["Linear", "Extra"])
def test_extra_training_images_are_not_read_and_any_state_has_a_digest(folder: Path, name: str) -> None:
    words = [*SMALL, "--set", "data.extra=gone.parquet", "--minutes", "0.001"]
    assert verify("--model", f"verified_networks:{name}", *words, images=5) == 0


def test_a_folder_of_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    (folder / "my_model.py").write_text(
        "from torch import nn\ndef model(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    for split in ("train", "test"):
        for name in ("a", "b"):
            (folder / "images" / split / name).mkdir(parents=True)
            for number in range(30):
                pixels = random.integers(0, 256, (8, 8), dtype=np.uint8)
                (folder / "images" / split / name / f"{number}.png").write_bytes(encoded(pixels))
    words = ["--model", "my_model:model", "--data", "images", "--set", "evaluation.epsilon=1/100"]
    assert main(["verify", *words, "--images", "10"]) == 0
    assert "verified on 10 of 60 images" in capsys.readouterr().out
    for one_split in ("images/train", "images/train/a/0.png"):
        assert main(["verify", *words[:3], one_split]) == 2
        assert "write a space file with morel-search init" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("verified_networks:Pair", "must give logits of shape (N, 10) for N images of 10 classes, got tuple"),
        (
            "verified_networks:four",
            "must give logits of shape (N, 10) for N images of 10 classes, got (8, 4)",
        ),
        ("verified_networks:large", "does not take images of 1 x 8 x 8: RuntimeError"),
        ("verified_networks:Batch", "predicts an image differently in eval mode"),
        ("verified_networks:NotFinite", "gives logits that are not finite"),
        ("verified_networks:absent", "cannot be imported"),
        ("timm/resnet18", "a function of your own that returns it with its weights"),
        ("nowhere", "is neither a folder of a network nor an import path"),
        ("os:getcwd", "Python's standard library"),
    ],
)
def test_mistakes_are_one_sentence(model: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify("--model", model) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert model in error
    assert "Traceback" not in error
    assert not Path("verified").exists()


@pytest.mark.parametrize(("name", "error"), [("Rare", "ValueError"), ("Exit", "SystemExit")])
def test_an_error_of_the_network_during_an_attack_is_one_sentence(
    capsys: pytest.CaptureFixture[str], name: str, error: str
) -> None:
    assert verify("--model", f"verified_networks:{name}", images=20) == 2
    assert f"a network of --model raised {error}: no attacks here" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["NoGrad", "Detached"])
def test_a_network_without_gradients_is_refused(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert verify("--model", f"verified_networks:{name}") == 2
    assert f"network verified_networks:{name} gives logits without a gradient" in capsys.readouterr().err
    assert not Path("verified").exists()


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("file", "file is a file, not a folder; name another folder with --out"),
        ("file/below", "cannot create file/below: a part of the path is a file, not a folder"),
        ("/proc/below", "cannot create /proc/below: no such folder"),
        ("a" * 300, "the name is too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_one_sentence(
    capsys: pytest.CaptureFixture[str], out: str, sentence: str
) -> None:
    Path("file").write_text("mine")
    assert verify("--model", "verified_networks:Linear", "--out", out) == 2
    assert sentence in capsys.readouterr().err
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--model", "a:b"],
        ["results/x", "--model", "a:b", "--data", DIGITS],
        ["results/x", "--data", DIGITS],
        ["results/x", "--out", "elsewhere"],
        ["--model", "a:b", "--data", DIGITS, "--replicates", "2"],
    ],
)
def test_what_does_not_go_together(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *words]) == 2
    assert "--model" in capsys.readouterr().err


def test_a_run_folder_is_not_written_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run").mkdir()
    (folder / "run/settings.json").write_text("{}")
    assert verify("--model", "verified_networks:Linear", "--out", "run") == 2
    assert "run is a run or a network; name another folder with --out" in capsys.readouterr().err
