"""Networks of timm and torchvision by name: ``timm/resnet10t``, ``torchvision/resnet18``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from config_files import changed, faults, load
from torch import Tensor, nn

from morel_search.errors import NetworkError
from morel_search.models import checkpoint
from morel_search.models.sections import read_section
from morel_search.training import library_names
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.networks import Classifier, build_network
from morel_search.training.networks import library as library_module
from morel_search.training.settings import NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def build(
    name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 5, **options: Any
) -> Classifier:
    torch.manual_seed(0)
    return build_network(NetworkSettings(name=name, options=options), shape, classes)


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@needs_timm
def test_a_timm_network_computes_what_timm_computes() -> None:
    import timm

    model = build("timm/test_resnet", (1, 16, 16)).eval()
    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", num_classes=5, in_chans=1).eval()
    x = images(3, 1, 16, 16)
    torch.testing.assert_close(model(x), theirs(2 * x - 1))
    plain = build("timm/test_resnet", (1, 16, 16), mean=0, std=1).eval()
    torch.testing.assert_close(plain(x), theirs(x))


@needs_timm
@pytest.mark.parametrize(
    ("name", "shape", "options", "dim"),
    [
        ("resnet10t", (3, 32, 32), {}, 512),
        ("test_vit", (1, 32, 32), {}, 64),  # its size follows the images
        ("deit_tiny_distilled_patch16_224", (2, 32, 48), {"depth": 1}, 192),  # two heads
        ("dla34", (3, 32, 32), {}, 512),  # its head is a convolution
    ],
)
def test_timm_networks_train_and_are_attacked(
    name: str, shape: tuple[int, int, int], options: dict[str, Any], dim: int
) -> None:
    model = build(f"timm/{name}", shape, **options)
    assert model.feature_dim == dim
    assert isinstance(model.head, nn.Linear)
    x = images(3, *shape)
    step = MorelStep(model, TrainSettings(accuracy_loss="trades", attack_steps=1))
    losses, logits = step(x, torch.tensor([0, 1, 2]))
    losses.total.backward()
    assert logits.shape == (3, 5)
    model.eval()
    torch.testing.assert_close(FrozenNetwork(model, x)(x), model(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_torchvision_networks_by_name(name: str) -> None:
    model = build(f"torchvision/{name}", (3, 48, 48))
    x = images(2, 3, 48, 48)
    assert build(f"torchvision/{name}", (3, 48, 48))(x).shape == (2, 5)
    if name == "resnet18":
        torch.manual_seed(0)
        theirs = torchvision.models.resnet18(num_classes=5).eval()
        torch.testing.assert_close(model.eval()(x), theirs(2 * x - 1))


def test_torchvision_takes_grey_images_as_colour_images() -> None:
    model = build("torchvision/shufflenet_v2_x0_5", (1, 32, 32)).eval()
    torch.manual_seed(0)
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=5).eval()
    x = images(3, 1, 32, 32)
    torch.testing.assert_close(model(x), theirs(2 * x.repeat(1, 3, 1, 1) - 1))
    with pytest.raises(NetworkError, match="takes images of 1 or 3 channels, got 2"):
        build("torchvision/shufflenet_v2_x0_5", (2, 32, 32))


def test_a_vision_transformer_of_torchvision_takes_the_size_of_the_images() -> None:
    with torch.device("meta"):
        known = torchvision.models.vit_b_16(image_size=32)
    made: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, "get_model", lambda name, **options: made.append(options) or known)
        with pytest.raises(NetworkError):
            build("torchvision/vit_b_16", (3, 32, 32))
    assert made[0] == {"num_classes": 5, "image_size": 32}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        pytest.param(
            "timm/resnet10x", {}, r"is not in timm; did you mean timm/resnet\w+\?", marks=needs_timm
        ),
        pytest.param(
            "timm/resnet10t.mine", {}, "is not in timm; its weights are resnet10t", marks=needs_timm
        ),
        pytest.param(
            "timm/test_resnet", {"no_such": 1}, "fails with options .*no_such.*TypeError", marks=needs_timm
        ),
        pytest.param(
            "timm/test_vit", {"embed_dim": 10**7, "num_heads": 1}, "needs .* GiB of memory", marks=needs_timm
        ),
        pytest.param(
            "timm/test_resnet", {"global_pool": ""}, r"features of shape \(N, d\), got", marks=needs_timm
        ),
        pytest.param(
            "timm/test_resnet",
            {"num_classes": 3},
            "has the option num_classes, which follows the data",
            marks=needs_timm,
        ),
        ("torchvision/resnet55", {}, "is not in torchvision; did you mean torchvision/resnet50"),
        ("torchvision/resnet18", {"no_such": 1}, "fails with options .*no_such.*TypeError"),
        ("torchvision/resnet18", {"weights": "MINE"}, "has no such weights: KeyError: 'MINE'"),
        ("torchvision/squeezenet1_0", {}, r"has no nn.Linear.*a function that returns the pair"),
        ("torchvision/fcn_resnet50", {}, "is not in torchvision"),
        ("keras/resnet50", {}, "nor timm/NAME, torchvision/NAME or an import path"),
    ],
)
def test_a_mistake_is_one_sentence(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(NetworkError, match=words) as caught:
        build(name, (3, 32, 32), **options)
    assert str(caught.value).startswith(f"network {name} ")
    assert "\n" not in str(caught.value)


def network_faults(tmp_path: Path, name: str) -> tuple[str, ...]:
    return faults(tmp_path, changed(network={"name": name}))


def test_a_space_file_names_them(tmp_path: Path) -> None:
    content = changed(network={"name": "torchvision/resnet18", "options": {"zero_init_residual": True}})
    space = load(tmp_path, content)
    assert space.network.name == "torchvision/resnet18"
    (fault,) = network_faults(tmp_path, "torchvision/resnet19")
    assert fault == (
        "network.name: is not in torchvision; did you mean torchvision/resnet18?, got the text "
        "'torchvision/resnet19'"
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("resnet50", "torchvision/resnet50"),
        ("torchvision:resnet50", "torchvision/resnet50"),
        pytest.param("resnet10t", "timm/resnet10t", marks=needs_timm),
        pytest.param("timm:resnet10t", "timm/resnet10t", marks=needs_timm),
        ("resnet17", "resnet18"),
    ],
)
def test_did_you_mean_leads_to_the_libraries(tmp_path: Path, given: str, meant: str) -> None:
    (fault,) = network_faults(tmp_path, given)
    assert fault.endswith(f"; did you mean {meant}?")


def test_a_missing_timm_is_one_sentence_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        library_names, "find_spec", lambda name: None if name == "timm" else importlib.util.find_spec(name)
    )
    (fault,) = network_faults(tmp_path, "timm/resnet10t")
    assert fault == (
        "network.name: needs timm, which is not installed: pip install 'morel-search[timm]', got the text "
        "'timm/resnet10t'"
    )
    with pytest.raises(NetworkError, match=r"pip install 'morel-search\[timm\]'"):
        build("timm/resnet10t")


@needs_timm
def test_weights_are_read_at_the_start_of_a_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    weights = tmp_path / "theirs.pt"
    theirs = timm.create_model("test_resnet", num_classes=5)
    torch.save(theirs.state_dict(), weights)
    settings = NetworkSettings(name="timm/test_resnet", options={"checkpoint_path": str(weights)})
    model = build_network(settings, (3, 16, 16), 5).eval()
    x = images(2, 3, 16, 16)
    torch.testing.assert_close(model(x), theirs.eval()(2 * x - 1))
    checkpoint.save_model(tmp_path / "model.pt", model, settings, (3, 16, 16), [*"abcde"])
    weights.unlink()
    loaded, _ = checkpoint.load_model(tmp_path / "model.pt")
    torch.testing.assert_close(loaded(x), model(x))
    with pytest.raises(NetworkError, match=r"fails with options .*FileNotFoundError"):
        build_network(settings, (3, 16, 16), 5)


@needs_timm
def test_pretrained_weights_bring_their_normalisation() -> None:
    mean_std = library_module.library_mean_std
    assert mean_std("timm/resnet10t", {}, 3) is None
    imagenet = mean_std("timm/resnet10t", {"pretrained": True}, 3)
    assert imagenet == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std = mean_std("torchvision/resnet18", {"weights": "DEFAULT"}, 1) or ((), ())
    assert (*mean, *std) == pytest.approx((0.449, 0.226))


def test_settings_of_a_network_folder_may_name_them() -> None:
    settings = read_section(NetworkSettings, {"name": "torchvision/resnet18", "options": {}})
    assert settings.name == "torchvision/resnet18"
    with pytest.raises(ValueError, match="must be one of"):
        read_section(NetworkSettings, {"name": "keras/resnet18", "options": {}})
