"""Networks against published sizes, torchvision's networks with equal weights, and second implementations."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from morel_search.errors import NetworkError
from morel_search.training.names import NETWORK_NAMES
from morel_search.training.networks import NETWORKS, Classifier, build_network, outline_of
from morel_search.training.networks.classifier import BatchNorm, count_batches
from morel_search.training.settings import NetworkSettings


def build(
    name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **options: Any
) -> Classifier:
    torch.manual_seed(0)
    return build_network(NetworkSettings(name=name, options=options), shape, classes)


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


NARROW: dict[str, dict[str, Any]] = {
    "small_cnn": {"width": 4},
    "resnet18": {"width": 4},
    "preact_resnet18": {"width": 4},
    "wideresnet28_10": {"depth": 10, "width": 1},
    "wideresnet34_10": {"depth": 16, "width": 1, "dropout": 0.2},
    "vit": {"width": 16, "mlp": 24},
}


def test_names_are_those_that_a_space_file_may_use() -> None:
    assert tuple(NETWORKS) == NETWORK_NAMES
    assert set(NARROW) == set(NETWORK_NAMES)


@pytest.mark.parametrize(
    ("name", "parameters", "feature_dim"),
    [
        ("resnet18", 11_173_962, 512),
        ("preact_resnet18", 11_171_146, 512),
        ("wideresnet28_10", 36_479_194, 640),
        ("wideresnet34_10", 46_160_474, 640),
    ],
)
def test_sizes_are_those_of_the_field(name: str, parameters: int, feature_dim: int) -> None:
    model = build(name)
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    assert model.feature_dim == feature_dim


def test_resnet18_is_torchvisions_with_another_stem() -> None:
    ours = build("resnet18").eval()
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    wanted = [value for name, value in ours.state_dict().items() if not name.startswith("encoder.0.")]
    for value in wanted:
        if value.is_floating_point():
            value.add_(
                0.02 * torch.rand(value.shape)
            )  # running statistics and affine weights that are not 0 and 1
    theirs.load_state_dict(dict(zip(theirs.state_dict(), wanted, strict=True)))
    x = images(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs((x - 0.5) / 0.5), rtol=1e-4, atol=1e-4)


def test_vit_is_torchvisions() -> None:
    ours = build("vit").eval()
    theirs = torchvision.models.VisionTransformer(32, 4, 1, 4, 256, 1024, num_classes=10).eval()
    own = {name.removeprefix("encoder.1."): value for name, value in ours.state_dict().items()}
    layer, their_layer = "layers.0.", "encoder.layers.encoder_layer_0."
    names = {
        "token": "class_token",
        "position": "encoder.pos_embedding",
        **{f"embed.{part}": f"conv_proj.{part}" for part in ("weight", "bias")},
        **{f"norm.{part}": f"encoder.ln.{part}" for part in ("weight", "bias")},
        **{f"head.{part}": f"heads.head.{part}" for part in ("weight", "bias")},
        **{
            f"{layer}norm{n}.{part}": f"{their_layer}ln_{n}.{part}"
            for n in (1, 2)
            for part in ("weight", "bias")
        },
        **{
            f"{layer}attention.qkv.{part}": f"{their_layer}self_attention.in_proj_{part}"
            for part in ("weight", "bias")
        },
        **{
            f"{layer}attention.out.{part}": f"{their_layer}self_attention.out_proj.{part}"
            for part in ("weight", "bias")
        },
        **{
            f"{layer}mlp.{n}.{part}": f"{their_layer}mlp.{n}.{part}"
            for n in (0, 3)
            for part in ("weight", "bias")
        },
    }
    theirs.load_state_dict(
        {names[name]: value for name, value in own.items() if not name.startswith("encoder.0.")}
    )
    x = images(3, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(2 * x - 1), rtol=1e-4, atol=1e-5)


def pre_activation(block: Any, x: Tensor) -> Tensor:
    """x + F(x), F = conv relu BN conv relu BN; a convolution is the shortcut if sizes change.

    Sources: arXiv 1603.05027, 1605.07146.
    """

    def bn(layer: Any, y: Tensor) -> Tensor:
        scale = layer.weight / torch.sqrt(layer.running_var + 1e-5)
        return y * scale[:, None, None] + (layer.bias - layer.running_mean * scale)[:, None, None]

    active = bn(block.bn1, x).clamp(min=0)
    stride = block.conv1.stride[0]
    first = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
    out = F.conv2d(bn(block.bn2, first).clamp(min=0), block.conv2.weight, padding=1)
    return out + (
        x
        if stride == 1 and x.shape[1] == out.shape[1]
        else F.conv2d(active, block.shortcut.weight, stride=stride)
    )


@pytest.mark.parametrize(
    ("name", "attribute"), [("preact_resnet18", "stages"), ("wideresnet28_10", "blocks")]
)
def test_pre_activation_blocks_are_the_papers(name: str, attribute: str) -> None:
    model = build(name, **NARROW[name]).double()
    with torch.no_grad():
        model(images(8, 3, 32, 32).double())  # running statistics that are not 0 and 1
        model.eval()
        encoder: Any = model.encoder[1]
        x = F.conv2d(2 * images(2, 3, 32, 32).double() - 1, encoder.conv.weight, padding=1)
        for block in getattr(encoder, attribute):
            x = pre_activation(block, x)
        if name.startswith("wide"):
            x = F.batch_norm(
                x, encoder.bn.running_mean, encoder.bn.running_var, encoder.bn.weight, encoder.bn.bias
            ).relu()
        expected = F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), model.head.weight, model.head.bias)
        torch.testing.assert_close(model(images(2, 3, 32, 32).double()), expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 12, 8)])
@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_every_network_takes_any_batch(name: str, shape: tuple[int, int, int]) -> None:
    """One image in training mode too, where the last map of a ResNet is 1 x 1 for images of 8 x 8."""
    model = build(name, shape, classes=3, **NARROW[name])
    for count in (1, 2, 5):
        logits = model.train()(images(count, *shape))
        logits.sum().backward()
        assert logits.shape == (count, 3)
        assert all(
            weight.grad is not None and torch.isfinite(weight.grad).all() for weight in model.parameters()
        )
    model.eval()
    x = images(3, *shape)
    assert model.features(x).shape == (3, model.feature_dim)
    torch.testing.assert_close(model.head(model.features(x)), model(x))
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


def test_one_value_a_channel_leaves_the_running_statistics_alone() -> None:
    model = build("resnet18", (1, 8, 8), width=4)
    last: Any = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)][-2]
    before = last.running_mean.clone()
    model(images(1, 1, 8, 8))
    assert torch.equal(last.running_mean, before)
    model(images(2, 1, 8, 8))
    assert not torch.equal(last.running_mean, before)


def test_normalisation_is_inside() -> None:
    options = {"mean": [0.1, 0.2, 0.3], "std": 0.25}
    with_own, plain = build("small_cnn", **options).eval(), build("small_cnn", mean=0.0, std=1.0).eval()
    x = images(2, 3, 32, 32)
    normalised = (x - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.25
    torch.testing.assert_close(with_own(x), plain(normalised), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(build("small_cnn").eval()(x), plain(2 * x - 1), rtol=1e-4, atol=1e-5)


def test_pooling_and_width_of_the_small_network() -> None:
    assert build("small_cnn", (1, 8, 8)).feature_dim == 4 * 16 * 2 * 2
    assert build("small_cnn", (1, 8, 8), pooling="global", width=5).feature_dim == 20
    assert build("small_cnn", (1, 9, 6), width=1).feature_dim == 4 * 3 * 2


def test_weights_follow_the_seed() -> None:
    first, second = build("vit", **NARROW["vit"]), build("vit", **NARROW["vit"])
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "shape", "options", "words"),
    [
        (
            "resnet18",
            (1, 7, 8),
            {},
            "network resnet18 requires images of at least 8 x 8 pixels, got 1 x 7 x 8",
        ),
        ("small_cnn", (3, 3, 32), {}, "at least 4 x 4 pixels, got 3 x 3 x 32"),
        ("vit", (3, 30, 32), {}, "patch 4 does not divide images of 3 x 30 x 32"),
        ("vit", (1, 8, 8), {"patch": 16}, "at least 16 x 16 pixels, got 1 x 8 x 8"),
        ("vit", (3, 32, 32), {"heads": 3}, "heads must divide option width, got 3 and 256"),
        ("vit", (3, 32, 32), {"dropout": 1.0}, r"dropout must be a number in \[0, 1\), got 1.0"),
        ("wideresnet34_10", (3, 32, 32), {"depth": 30}, r"depth must be 6 n \+ 4 .*, got 30"),
        ("small_cnn", (1, 8, 8), {"width": 0}, "width must be a whole number >= 1, got 0"),
        ("small_cnn", (1, 8, 8), {"width": "wide"}, "width must be a whole number >= 1, got 'wide'"),
        ("small_cnn", (1, 8, 8), {"pooling": "max"}, "pooling must be flatten or global, got 'max'"),
        (
            "small_cnn",
            (1, 8, 8),
            {"depth": 3},
            "has no option depth; its options are width, pooling, mean, std",
        ),
        ("small_cnn", (1, 8, 8), {"std": 0}, "std must be one number or 1 .*, numbers above 0, got 0"),
        ("resnet18", (3, 32, 32), {"mean": [0.5, 0.5]}, r"mean must be one number or 3 .*, got \[0.5, 0.5\]"),
        ("resnet19", (3, 32, 32), {}, "network resnet19 is neither one of small_cnn, resnet18"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(
    name: str, shape: tuple[int, int, int], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(NetworkError, match=words) as caught:
        build(name, shape, **options)
    assert "\n" not in str(caught.value)


def test_one_class_is_no_classification() -> None:
    with pytest.raises(NetworkError, match="at least 2 classes, got 1"):
        build("small_cnn", classes=1)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("small_cnn", {"width": 2**63 - 1}, "has more weights than any memory can hold"),
        ("small_cnn", {"width": 10**6}, r"needs [\d,.]+ GiB of memory, but cpu has [\d,.]+ GiB"),
        ("wideresnet28_10", {"width": 10**6}, r"GiB of memory"),
        ("vit", {"depth": 10**9}, "option depth must be a whole number <= 1000, got 1000000000"),
        ("vit", {"mlp": 2**62}, "has more weights than any memory can hold"),
        ("small_cnn", {"width": 10**30}, "option width must be a whole number <="),
        ("small_cnn", {"mean": 1e308}, "option mean must be one number"),
        ("small_cnn", {"std": 5e-324}, "option std must be one number"),
    ],
)
def test_a_network_that_does_not_fit_into_memory(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(NetworkError, match=f"^network {name} .*{words}"):
        build_network(NetworkSettings(name=name, options=options), (3, 32, 32), 10)


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 10**9, 10**9), (-1, 8, 8), (10**12, 8, 8)])
def test_images_that_no_network_takes(shape: tuple[int, int, int]) -> None:
    with pytest.raises(NetworkError, match=r"needs images of 1 to 65536"):
        build_network(NetworkSettings(name="small_cnn"), shape, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_outline_has_the_weights_of_the_network_and_draws_none(name: str) -> None:
    settings, state = NetworkSettings(name=name), torch.get_rng_state()
    outline = outline_of(settings, (3, 32, 32), 10)
    assert torch.equal(torch.get_rng_state(), state)
    assert {tensor.device.type for tensor in outline.state_dict().values()} == {"meta"}
    shapes = {
        key: tensor.shape for key, tensor in build_network(settings, (3, 32, 32), 10).state_dict().items()
    }
    assert {key: tensor.shape for key, tensor in outline.state_dict().items()} == shapes


def test_an_outline_does_not_import_torchs_compiler() -> None:
    code = (
        "import sys\n"
        "from morel_search.training.networks import NETWORKS, outline_of\n"
        "from morel_search.training.settings import NetworkSettings\n"
        "for name in NETWORKS: outline_of(NetworkSettings(name=name), (3, 32, 32), 10)\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "False"


def test_batch_norm_is_torchs_and_its_batches_are_counted_together() -> None:
    torch.manual_seed(0)
    own, torchs = (
        nn.Sequential(BatchNorm(3), BatchNorm(3)),
        nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)),
    )
    for _ in range(2):
        images = torch.randn(4, 3, 5, 5)
        assert torch.equal(own(images), torchs(images))
    count_batches(own, 2)
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in torchs.state_dict().items())
    assert torch.equal(own.eval()(images), torchs.eval()(images))
    count_batches(nn.ReLU(), 1)  # a network without one
