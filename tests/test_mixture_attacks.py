"""The attacks of a verification on a mixture's file, against AutoAttack on the exported mixture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from trained_runs import DATA, EVALUATION, NETWORK, make_trained_run, train_trial

from morel_search import load_model
from morel_search.cluster.placement import with_absolute_paths
from morel_search.models.build import mixture_settings
from morel_search.models.checkpoint import load_model as load_checkpoint
from morel_search.models.checkpoint import save_model
from morel_search.pick import main as pick
from morel_search.results.attack_records import BROKEN, COLUMNS, UNKNOWN
from morel_search.results.folder import RunFolder
from morel_search.results.mixtures import MixtureEntry, Part
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.datasets.loading import load_test
from morel_search.training.networks.mixture import Mixture
from morel_search.verification.worker import WorkerSetup, attack_chunk, diagnose_network
from morel_search.workflows.verify import mixtures_of, networks_of

NAME = "0+1@30"
RADIUS = EVALUATION.epsilon / 4
IMAGES = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of three networks, of which two are mixed."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (7, 8):
        train_trial(folder / str(seed), seed=seed)
    run = make_trained_run(folder, folder / "7" / "model.pt")
    second = run.front_models / "1" / "model.pt"
    second.write_bytes((folder / "8" / "model.pt").read_bytes())
    members = [load_checkpoint(run.front_models / name / "model.pt")[0] for name in "01"]
    _, metadata = load_checkpoint(second)
    network = mixture_settings([NETWORK, NETWORK], ["0", "1"], [0.3, 0.7], "probabilities")
    entry = MixtureEntry(NAME, (Part("0", 0.3, ""), Part("1", 0.7, "")), "probabilities", 2, 1, (0.9, 0.5))
    settings = run.read_settings()
    content = {
        "format": 1,
        "network": {"name": network.name, "options": dict(network.options)},
        "mixture": entry.to_json(),
        "data": settings.section("data"),
        "evaluation": settings.section("evaluation"),
        "figures": {"validation": {"clean_accuracy": 0.9, "robust_accuracy": 0.5}},
    }
    run.write_json(run.mixture_models / NAME / "settings.json", content)
    save_model(
        run.mixture_models / NAME / "model.pt",
        Mixture(members, [0.3, 0.7]),
        network,
        metadata.image_shape,
        metadata.classes,
    )
    return run


def setup(*sources: tuple[str, Path]) -> WorkerSetup:
    return WorkerSetup(
        data=with_absolute_paths(DATA),
        evaluation=replace(EVALUATION, epsilon=RADIUS, batch_size=IMAGES),
        compute=FLOAT32,
        device="cpu",
        threads=1,
        seed=0,
        sources=tuple((name, str(path)) for name, path in sources),
    )


def test_it_is_verified_like_a_network_and_is_not_trained_again(run: RunFolder) -> None:
    assert mixtures_of(run) == {NAME: run.mixture_models / NAME / "model.pt"}
    assert set(networks_of(run)) == {"0", "1", "2"}, "replicates are trainings of these"


def test_its_images_are_those_of_autoattack_on_the_exported_mixture(run: RunFolder) -> None:
    """Image by image, through the file that a verification reads, and the folder that ``pick`` writes."""
    from pyautoattack import AutoAttack

    rows, stages = np.arange(IMAGES), ("apgd-ce", "apgd-t")
    unknown = np.full((IMAGES, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    path = str(run.mixture_models / NAME / "model.pt")
    result = attack_chunk(path, stages, rows, unknown, 1.0, setup())
    assert not result.failures
    ours = ~(result.table == BROKEN).any(axis=1)
    assert pick([str(run.path), "--member", NAME]) == 0
    model = load_model(run.path / "picked" / NAME)
    test = load_test(DATA)
    x, y = to_float(test.images[:IMAGES]), test.labels[:IMAGES]
    attack = AutoAttack(model, norm="Linf", eps=float(RADIUS), seed=0, device="cpu")
    attack.attacks_to_run = [*stages]
    with torch.no_grad():
        clean = (model(x).argmax(dim=1) == y).numpy()
        points = attack.run_standard_evaluation(x, y, batch_size=IMAGES)[0]
        theirs = clean & (model(points).argmax(dim=1) == y).numpy()
    assert (result.table[:, 0] != BROKEN).tolist() == clean.tolist()
    assert 2 < theirs.sum() < clean.sum() - 2, "the attacks break some images and not all of them"
    assert ours.tolist() == theirs.tolist()


def test_its_members_are_no_independent_source_of_transferred_examples(run: RunFolder) -> None:
    sources = {name: path for name, path in networks_of(run).items() if name in ("1", "2")}
    rows = np.arange(IMAGES)
    both = setup(*sources.items())
    mixture = diagnose_network(str(run.mixture_models / NAME / "model.pt"), rows, both)
    assert set(mixture.transfer) == {"2"}
    alone = diagnose_network(str(networks_of(run)["0"]), rows, both)
    assert set(alone.transfer) == {"1", "2"}
