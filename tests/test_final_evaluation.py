"""The final evaluation of a trial: epochs and weights, after a kill, and for runs of earlier versions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from config_files import changed, load
from torch import nn
from trained_runs import DATA, EVALUATION, NETWORK, TRAIN

from morel_search.cluster.placement import with_absolute_paths
from morel_search.cluster.trainable import Job, model_file, train_job
from morel_search.cluster.worker_data import development_for
from morel_search.errors import NetworkError, RunFolderError
from morel_search.models.checkpoint import load_model, save_model
from morel_search.models.sections import read_section
from morel_search.results.folder import RunFolder
from morel_search.results.renamed import current_evaluation
from morel_search.search.outcome import outcome_of
from morel_search.search.study import TrialStore
from morel_search.training.evaluation import Evaluation, evaluate
from morel_search.training.evaluation_attacks import final_attack, quick_attack
from morel_search.training.selection import EpochResult, chosen_epochs
from morel_search.training.settings import EvaluationSettings
from morel_search.training.trainer import Training
from morel_search.workflows.resume import check_identity

RULES = ["last", "best_robust", "best_sum", "front"]


def job_in(folder: Path, select_epoch: str) -> Job:
    return Job(
        number=0,
        seed=7,
        train=dataclasses.replace(TRAIN, epochs=5),
        network=NETWORK,
        data=with_absolute_paths(DATA),
        evaluation=dataclasses.replace(EVALUATION, every=1, epsilon=Fraction(1, 12), steps=1, targets=1),
        select_epoch=select_epoch,
        device="cpu",
        threads=1,
        folder=str(folder),
    )


def without_seconds(history: Sequence[EpochResult]) -> list[EpochResult]:
    return [dataclasses.replace(result, seconds=0.0) for result in history]


@pytest.mark.parametrize("rule", RULES)
def test_a_training_that_is_killed_during_its_final_evaluation_continues_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    expected = without_seconds(train_job(job_in(tmp_path / "a", rule), lambda report: None))

    def killed(training: Training, model: nn.Module) -> Evaluation:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "evaluate_final", killed)
        with pytest.raises(KeyboardInterrupt):
            train_job(job_in(tmp_path / "b", rule), lambda report: None)
    lengths: list[int] = []
    resumed = train_job(job_in(tmp_path / "b", rule), lambda report: lengths.append(len(report.history)))
    assert lengths == [5]  # no epoch is trained again
    assert without_seconds(resumed) == expected


@pytest.mark.parametrize("rule", RULES)
def test_the_final_evaluation_measures_the_saved_weights_of_the_selected_epochs(
    tmp_path: Path, rule: str
) -> None:
    job = job_in(tmp_path, rule)
    history = train_job(job, lambda report: None)
    selected = {result.epoch for result in chosen_epochs(history, rule)}
    assert {result.epoch for result in history if result.final_robust_accuracy is not None} == selected
    assert any(result.final_robust_accuracy not in (None, result.robust_accuracy) for result in history)
    outcome = outcome_of(history, "", rule)
    for epoch, clean, robust in outcome.points:
        model, metadata = load_model(tmp_path / model_file(epoch, rule))
        validation = development_for(job.data, "cpu").validation
        result = evaluate(model, validation, job.evaluation, final=True)
        assert metadata.epoch == epoch
        assert (result.clean_accuracy, result.robust_accuracy) == (clean, robust)
    last = history[-1]
    assert outcome.last_values == (last.clean_accuracy, last.robust_accuracy)


@pytest.mark.parametrize("final_steps", [1, 0])
def test_weights_of_another_epoch_are_refused(tmp_path: Path, final_steps: int) -> None:
    """As a kill between the weights and the state leaves them; also checked without a final attack."""
    job = job_in(tmp_path, "last")
    job = dataclasses.replace(job, evaluation=dataclasses.replace(job.evaluation, final_steps=final_steps))
    train_job(job, lambda report: None)
    model, metadata = load_model(tmp_path / "model.pt")
    save_model(tmp_path / "model.pt", model, NETWORK, metadata.image_shape, metadata.classes, epoch=2)
    with pytest.raises(NetworkError, match="weights are those of epoch 2, not of the selected epoch 5"):
        train_job(job, lambda report: None)  # resumes after the last epoch


def test_the_front_of_a_training_is_that_under_the_final_attack() -> None:
    """The quick attack selects both epochs; under the final one the second dominates the first."""
    result = EpochResult(
        epoch=1, loss=1, accuracy_loss=1, robust_loss=1, cosine_loss=1, contrastive_loss=1, lr=0.1,
        train_accuracy=1, clean_accuracy=0.8, robust_accuracy=0.5, seconds=1, final_robust_accuracy=0.3,
    )  # fmt: skip
    later = {"epoch": 2, "clean_accuracy": 0.9, "robust_accuracy": 0.4, "final_robust_accuracy": 0.35}
    history = [result, dataclasses.replace(result, **later)]
    assert len(chosen_epochs(history, "front")) == 2
    assert outcome_of(history, "", "front").points == ((2, 0.9, 0.35),)


def test_a_constraint_applies_to_the_accuracy_under_the_final_attack() -> None:
    result = EpochResult(
        epoch=1, loss=1, accuracy_loss=1, robust_loss=1, cosine_loss=1, contrastive_loss=1, lr=0.1,
        train_accuracy=1, clean_accuracy=0.8, robust_accuracy=0.5, seconds=1, final_robust_accuracy=0.25,
    )  # fmt: skip
    outcome = outcome_of(
        [result], "", "last", violations=lambda measured: {"robust": 0.5 - measured["robust_accuracy"]}
    )
    assert outcome.violation == 0.25


def test_a_search_of_an_earlier_version_is_refused_with_the_way_to_continue_it(tmp_path: Path) -> None:
    space, run = load(tmp_path, changed()), RunFolder(tmp_path / "run")
    old = space.identity()
    evaluation = dict(space.describe()["evaluation"])
    for name in ("targets", "final_steps", "final_targets", "final_restarts"):
        del evaluation[name]
    old["evaluation"] = {**evaluation, "loss": "cross_entropy", "steps": 20}
    store = TrialStore.of_file(tmp_path / "study.db", "run")
    store.set_identity(old)
    with pytest.raises(RunFolderError) as error:
        check_identity(space, store, run)
    assert "continue it with the earlier values, in the space file or by --set" in str(error.value)
    assert "evaluation.final_steps was 0 and is 20" in str(error.value)
    earlier = ["evaluation.loss=cross_entropy", "evaluation.steps=20", "evaluation.final_steps=0"]
    check_identity(load(tmp_path, changed(), earlier), store, run)


def test_an_evaluation_of_an_earlier_version_keeps_the_defaults_of_that_version() -> None:
    settings = read_section(EvaluationSettings, current_evaluation({"norm": "linf", "epsilon": "1/5"}))
    attack = quick_attack(settings)
    assert (attack.loss, attack.attack.steps, attack.starts) == ("cross_entropy", 20, ("uniform",))
    assert final_attack(settings) == attack


def test_passes_are_bounded_by_the_number_of_wrong_classes() -> None:
    settings = EvaluationSettings(steps=8, targets=4, final_steps=20, final_targets=9, final_restarts=2)
    assert [quick_attack(settings).passes(classes) for classes in (2, 3, 10)] == [8, 16, 32]
    assert [final_attack(settings).passes(classes) for classes in (2, 10, 100)] == [40, 360, 360]
