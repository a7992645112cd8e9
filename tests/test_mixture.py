"""A mixture of networks: its logits, gradients and files, and attacks on it by this project and others."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from morel_search import load_model
from morel_search._consent import Consent
from morel_search.errors import MorelSearchError, NetworkError, UntrustedCodeError
from morel_search.models import build
from morel_search.models.build import build_saved, mixture_settings
from morel_search.models.checkpoint import load_model as load_checkpoint
from morel_search.models.checkpoint import save_model
from morel_search.models.export import write_export
from morel_search.models.load import load_model as load_folder
from morel_search.models.settings import ModelSettings
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import Compute
from morel_search.training.datasets.loading import ImageSet, load_development
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.networks.mixture import FORMS, Form, Mixture, mixed_logits
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings
from morel_search.verification.attack_suite import AttackSuite

ROBUST = Path(__file__).parent / "robust_network"
SMALL = NetworkSettings(name="small_cnn", options={"width": 4})
SHAPE, CLASSES = (1, 8, 8), 10
EVALUATION = EvaluationSettings(epsilon=Fraction(1, 5), batch_size=200)


def network(seed: int, *, shift: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_saved(SMALL, SHAPE, CLASSES).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(shift * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    development = load_development(DataSettings(name="digits", validation=0.25)).validation
    return ImageSet(development.images[:120], development.labels[:120])


@pytest.fixture(scope="module")
def robust() -> Mixture:
    """A mixture of a trained network with a copy whose weights have noise."""
    first, second = load_model(ROBUST), load_model(ROBUST)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in second.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * float(parameter.std(correction=0)) * noise)
    return Mixture([first, second], [0.3, 0.7]).eval()


def images(count: int = 7) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_with_weight_0_or_1_it_is_one_of_its_members(form: Form, weight: float) -> None:
    members = [network(0), network(1)]
    mixture = Mixture(members, [weight, 1 - weight], form)
    alone = members[0 if weight else 1](images()).log_softmax(dim=1)
    torch.testing.assert_close(mixture(images()), alone, rtol=1e-6, atol=1e-6)
    assert mixture.passes == 1


def test_probabilities_are_the_weighted_mean_and_logits_too() -> None:
    members = [network(0), network(1), network(2)]
    weights = [0.2, 0.3, 0.5]
    logits = [member(images()) for member in members]
    expected = sum(w * own.double().softmax(dim=1) for w, own in zip(weights, logits, strict=True))
    given = Mixture(members, weights)(images())
    torch.testing.assert_close(given.double().exp(), expected)
    expected = sum(w * own for w, own in zip(weights, logits, strict=True)).softmax(dim=1)
    torch.testing.assert_close(Mixture(members, weights, "logits")(images()).exp(), expected)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_the_numerical_ones(form: Form, scale: float) -> None:
    """Also where the probabilities of one member are 0 and 1 in float64."""
    members = [network(0).double(), network(1).double()]
    with torch.no_grad():
        for parameter in members[0].head.parameters():  # type: ignore[union-attr, operator]
            parameter.mul_(scale)
    mixture = Mixture(members, [0.3, 0.7], form)
    x = images(2).double().requires_grad_()
    assert torch.isfinite(mixture(x)).all()
    assert torch.autograd.gradcheck(mixture, (x,), eps=1e-7, atol=1e-4 * scale, rtol=1e-4)


def test_the_copy_for_attacks_has_the_same_logits(robust: Mixture, digits: ImageSet) -> None:
    points = to_float(digits.images)
    copy = FrozenNetwork(robust, points[:2])
    torch.testing.assert_close(copy(points), robust(points), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_the_copy_in_bfloat16_mixes_the_copies_of_its_members(
    robust: Mixture, digits: ImageSet, form: Form
) -> None:
    """Logits in bfloat16, of which few are distinct, would hide what an attack can gain."""
    points, bfloat16 = to_float(digits.images), Compute(precision="bfloat16")
    mixture = Mixture([*robust.members], robust.weights, form).eval()
    alone = [FrozenNetwork(member, points[:2], bfloat16)(points) for member in robust.members]
    expected = mixed_logits(alone, robust.weights, mixture.form)
    logits = FrozenNetwork(mixture, points[:2], bfloat16)(points)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "form", "words"),
    [
        ([0.5], "probabilities", "a weight for each, got 2 members and 1 weights"),
        ([0.5, 0.6], "probabilities", "with the sum 1, got 0.5, 0.6"),
        ([-0.5, 1.5], "probabilities", "weights of at least 0"),
        ([float("nan"), 1.0], "probabilities", "got nan, 1.0"),
        ([0.5, 0.5], "votes", "must mix one of probabilities, logits, got votes"),
    ],
)
def test_wrong_weights_are_refused(weights: list[float], form: Form, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        Mixture([network(0), network(1)], weights, form)


def settings(**options: object) -> NetworkSettings:
    made = mixture_settings([SMALL, SMALL], ["2", "33"], [0.3, 0.7], "probabilities")
    return replace(made, options={**made.options, **options})


def test_it_is_saved_and_loaded_in_both_formats_to_the_same_bits(tmp_path: Path) -> None:
    model = Mixture([network(0), network(1)], [0.3, 0.7]).eval()
    save_model(tmp_path / "model.pt", model, settings(), SHAPE, [*"0123456789"])
    loaded, metadata = load_checkpoint(tmp_path / "model.pt")
    assert not loaded.training
    assert metadata.network == settings()
    assert torch.equal(loaded(images()), model(images()))
    described = ModelSettings(
        data={"name": "digits"},
        network={"name": "mixture", "options": dict(settings().options)},
        evaluation={"norm": "linf", "epsilon": "1/5"},
        image_shape=SHAPE,
        classes=tuple("0123456789"),
    )
    write_export(tmp_path / "own", model, described)
    assert (tmp_path / "own" / "model.safetensors").is_file()
    exported = load_model(tmp_path / "own")
    assert torch.equal(exported(images()), model(images()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"members": []}, "members is []"),
        ({"members": [{"name": "small_cnn"}] * 17}, "members is"),
        ({"members": ["small_cnn", "small_cnn"]}, "members is 'small_cnn'"),
        ({"members": [{"name": "mixture", "options": {}}] * 2}, "members is {'name': 'mixture'"),
        ({"members": [{"name": "small_cnn"}, {"name": "large_cnn"}]}, "large_cnn is neither one of"),
        ({"weights": "1"}, "weights is '1'"),
        ({"weights": [0.3, True]}, "weights is"),
        ({"weights": [0.3, 0.3]}, "a mixture needs weights"),
        ({"form": None}, "a mixture must mix one of"),
    ],
)
def test_damaged_settings_are_one_sentence(tmp_path: Path, options: dict[str, object], words: str) -> None:
    model = Mixture([network(0), network(1)], [0.3, 0.7])
    save_model(tmp_path / "model.pt", model, settings(**options), SHAPE, [*"0123456789"])
    with pytest.raises(NetworkError) as refused:
        load_checkpoint(tmp_path / "model.pt")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_code_that_a_member_names_runs_only_with_consent(tmp_path: Path) -> None:
    """Also in the second member, where a check of the mixture's own name would not see it."""
    named = [SMALL, NetworkSettings(name="torchvision.models:resnet18")]
    made = mixture_settings(named, ["2", "33"], [0.3, 0.7], "probabilities")
    save_model(tmp_path / "model.pt", Mixture([network(0), network(1)], [0.3, 0.7]), made, SHAPE, [*"01"])
    with pytest.raises(UntrustedCodeError, match=r"names the code torchvision\.models:resnet18"):
        load_checkpoint(tmp_path / "model.pt")
    with pytest.raises(UntrustedCodeError):
        load_checkpoint(tmp_path / "model.pt", Consent(frozenset({"torchvision.models:resnet50"})))
    content = {"format": 1, "network": {"name": "mixture", "options": dict(made.options)}}
    content |= {"image_shape": list(SHAPE), "classes": ["0", "1"]}
    write_export(tmp_path / "own", network(0), ModelSettings.from_json({**content, "data": {"name": "d"}}))
    with pytest.raises(UntrustedCodeError):
        load_folder(tmp_path / "own")


def test_memory_is_checked_for_all_members_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them fits alone."""
    one = sum(tensor.nbytes for tensor in network(0).state_dict().values())
    monkeypatch.setattr("morel_search.training.memory.memory_bytes", lambda: int(1.5 * one))
    build_saved(SMALL, SHAPE, CLASSES)
    with pytest.raises(MorelSearchError, match=r"a mixture of 2 networks needs .* GiB of memory"):
        build_saved(settings(), SHAPE, CLASSES)


def test_most_members_is_a_limit() -> None:
    assert build.MOST_MEMBERS == 16


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t"])
def test_the_robust_images_are_those_of_other_libraries(robust: Mixture, digits: ImageSet, name: str) -> None:
    """AutoAttack, called on the mixture as on any network, by its authors' code and by torchattacks.

    AutoAttack's code decides about the same images; torchattacks draws other numbers, so its count may differ
    by two images.
    """
    import torchattacks
    from pyautoattack import AutoAttack

    x, y = to_float(digits.images[:60]), digits.labels[:60]
    suite = AttackSuite(robust, x, EVALUATION, seed=0)
    correct = suite.correct(x, y)
    own = correct.clone()
    own[correct] = suite.robust_mask(name, x[correct], y[correct])
    whole = AutoAttack(robust, norm="Linf", eps=0.2, seed=0, device="cpu")
    whole.attacks_to_run = [name]
    points = whole.run_standard_evaluation(x, y, batch_size=len(x))[0]
    theirs = (robust(points).argmax(dim=1) == y).detach()
    assert 10 < int(own.sum()) < len(x) - 10, "the attack breaks some images and not all of them"
    assert torch.equal(own, theirs & correct)
    attack = (
        torchattacks.APGD(robust, eps=0.2, loss="ce", steps=100, seed=0)
        if name == "apgd-ce"
        else torchattacks.APGDT(robust, eps=0.2, steps=100, seed=0)
    )
    other = (robust(attack(x, y)).argmax(dim=1) == y) & correct
    assert abs(int(other.sum()) - int(own.sum())) <= 2


def test_the_settings_survive_json() -> None:
    again = json.loads(json.dumps(dict(settings().options)))
    assert build_saved(NetworkSettings(name="mixture", options=again), SHAPE, CLASSES)
