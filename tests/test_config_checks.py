from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from config_files import changed, faults, load, searched

LOSSES = {"type": "categorical", "choices": ["pgd", "none"]}
NUMBER = {"type": "float", "low": 0.5, "high": 0.9}
STEPS = {"type": "categorical", "choices": ["1/255", "2/255"]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            searched(step_size=STEPS, step_ratio=NUMBER),
            "parameters.step_size: step_ratio, which is given too, has no effect beside it; "
            "remove one of the two",
        ),
        (
            {**searched(step_size=STEPS), "train": {"step_ratio": 2}},
            "parameters.step_size: step_ratio, which is given too, has no effect beside it; "
            "remove one of the two",
        ),
        (
            {**searched(step_ratio=NUMBER), "train": {"step_size": "1/255"}},
            "parameters.step_ratio: has no effect beside train.step_size; remove one of the two",
        ),
        (
            {**searched(alpha=NUMBER), "train": {"step_size": "1/255", "step_ratio": 2}},
            "train.step_ratio: has no effect beside step_size; remove one of the two",
        ),
        (
            {**searched(alpha=NUMBER), "train": {"k_robust": 0, "k_accuracy": 0}},
            "train.k_robust: k_robust and k_accuracy are both always 0, so no objective has a weight; "
            "raise one of them",
        ),
        (
            {**searched(alpha=NUMBER), "controls": {"mine": {"attention_heads": 5}}},
            "controls.mine: attention_heads must divide embedding_dim, got 5 and 128",
        ),
        (
            {**searched(alpha=NUMBER), "controls": {"mine": {"epsilon": 2}}},
            "controls.mine.epsilon: must be <= 1 for linf (pixels go from 0 to 1), got 2",
        ),
    ],
)
def test_settings_that_do_not_go_together(tmp_path: Path, content: Any, sentence: str) -> None:
    assert faults(tmp_path, content) == (sentence,)


@pytest.mark.parametrize(
    "parameters",
    [
        {"step_size": {"type": "categorical", "choices": ["1/255", None]}, "step_ratio": NUMBER},
        {
            "embedding_dim": {"type": "categorical", "choices": [60, 90]},
            "attention_heads": {"type": "int", "low": 1, "high": 3},
        },
        {
            "embedding_dim": {"type": "int", "low": 9, "high": 90, "step": 9},
            "attention_heads": {"type": "categorical", "choices": [1, 3, 9]},
        },
        {
            "embedding_dim": {"type": "categorical", "choices": [64, 81]},
            "attention_heads": {"type": "categorical", "choices": [2, 4], "when": {"embedding_dim": 64}},
        },
    ],
)
def test_settings_that_do(tmp_path: Path, parameters: Any) -> None:
    if parameters.get("embedding_dim", {}).get("choices") == [64, 81]:
        # Where the heads are not searched their default, 2, stays, and does not divide 81.
        (fault,) = faults(tmp_path, searched(**parameters))
        assert "got 2 and 81" in fault
        load(
            tmp_path,
            {
                **searched(**parameters),
                "parameters": {**parameters, "embedding_dim": {"type": "categorical", "choices": [64, 80]}},
            },
        )
    else:
        load(tmp_path, searched(**parameters))


ALPHA = {"type": "float", "low": 1e-3, "high": 10, "log": True}
EPSILON = {"type": "float", "low": 0, "high": "2/255"}


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (
            changed(search={"trials": 12, "population": 12}),
            "search.population is 12 for 12 trials, so the search is random",
        ),
        (
            changed(search={"trials": 5, "population": 12, "sampler": "nsga3"}),
            "search.population is 12 for 5 trials, so the search is random",
        ),
        (
            searched(temperature=NUMBER),
            "parameters.temperature has no measurable effect: alpha is at most 1e-05",
        ),
        (
            searched(
                k_robust=NUMBER, contrastive_features={"type": "categorical", "choices": ["natural", "both"]}
            ),
            "parameters.contrastive_features has no measurable effect: alpha is at most",
        ),
        (
            searched(alpha={"type": "float", "low": 1e-6, "high": 1e-4}),
            "parameters.alpha has no measurable effect: it is at most 0.0001",
        ),
        (
            {**searched(alpha=ALPHA), "train": {"k_robust": 0}},
            "parameters.alpha has no effect: k_robust is 0",
        ),
        (
            {**searched(temperature=NUMBER), "train": {"k_robust": 0}},
            "parameters.temperature has no effect: k_robust is 0",
        ),
        (
            searched(beta=NUMBER, accuracy_loss=LOSSES),
            "parameters.beta has no effect: accuracy_loss is pgd or none, which does not use it",
        ),
        (
            searched(loat_theta=NUMBER),
            "parameters.loat_theta has no effect: accuracy_loss is trades, which does not use it",
        ),
        (
            searched(
                beta={**NUMBER, "when": {"accuracy_loss": "pgd"}},
                accuracy_loss={"type": "categorical", "choices": ["pgd", "mart"]},
            ),
            "parameters.beta has no effect: accuracy_loss is pgd",
        ),
        (
            changed(train={"accuracy_loss": "torch.nn.functional:cross_entropy", "label_smoothing": 0.1}),
            "label_smoothing has an effect on torch.nn.functional:cross_entropy only if this function reads",
        ),
        (
            changed(
                train={"accuracy_loss": "torch.nn.functional:cross_entropy"},
                controls={"own": {"label_smoothing": 0.1}},
            ),
            "label_smoothing has an effect on torch.nn.functional:cross_entropy only if this function reads",
        ),
        (
            changed(train={"accuracy_loss": "loat"}),
            "loat_late_from is 100, but the epochs of a training are 0 to 29: LOAT has no late phase",
        ),
        (
            searched(awp_warmup={"type": "float", "low": 0, "high": 0.5}),
            "parameters.awp_warmup has no effect: awp is 0",
        ),
        (
            searched(schedule_factor=NUMBER),
            "parameters.schedule_factor has no effect: schedule is never step",
        ),
        (
            {**searched(epsilon=EPSILON)},
            "parameters.epsilon (0 to 2/255) is far below the epsilon of the evaluation, 8/255",
        ),
        (
            {
                **searched(epsilon={"type": "float", "low": "25/255", "high": "40/255"}),
                "evaluation": {"epsilon": "8/255"},
            },
            "parameters.epsilon (25/255 to 40/255) is far above the epsilon of the evaluation, 8/255",
        ),
        (
            changed(evaluation={"norm": "l2"}),
            "the attack of trainings has the norm linf, and the attack of the evaluation l2",
        ),
        (
            changed(evaluation={"restarts": 3, "random_start": "none", "loss": "margin"}),
            "evaluation.restarts is 3, but all starts are the same without a random start",
        ),
        (changed(evaluation={"step_size": "2/255"}), "evaluation.step_size has no effect"),
        (changed(evaluation={"step_ratio": 2}), "evaluation.step_ratio has no effect"),
        (changed(evaluation={"random_start": "none"}), "evaluation.random_start has no effect"),
        (
            changed(data={"name": "digits", "validation": 50}),
            "data.validation leaves 50 validation images: accuracies have steps of 0.02",
        ),
        (
            changed(data={"name": "digits", "validation": 0.5, "limit": 500}, train={"batch_size": 256}),
            "batch_size is above the number of training images, 250",
        ),
        (
            changed(data={"name": "digits", "train": "x.parquet"}),
            "data.train has no effect with digits",
        ),
        (
            searched(k_robust={"type": "float", "low": 0, "high": 1}),
            "k_robust reaches 1 and k_accuracy is 1 - k_robust",
        ),
        (
            {**searched(alpha=ALPHA), "train": {"batch_size": 1}},
            "batch_size reaches 1: the contrastive term has no pairs",
        ),
        (
            searched(norm={"type": "categorical", "choices": ["linf", "l2"]}),
            "parameters: the space has at most 2 configurations for 100 trials",
        ),
        (
            changed(search={"trials": 12, "population": 12, "sampler": "tpe"}),
            "search.population is 12 for 12 trials, so the search is random: tpe proposes settings after as",
        ),
        (
            changed(search={"trials": 30, "population": 12, "sampler": "gp"}),
            "search.population is 12 for 30 trials, of which about 36% run to their end, so the search is",
        ),
        (  # rungs after 1, 2, 4 and 8 of 10 epochs: 13 % of the trainings are left after four
            changed(
                search={"trials": 80, "population": 12, "sampler": "gp"},
                early_stopping={"rungs": None, "grace": 1, "eta": 2},
                train={"epochs": 10},
            ),
            "search.population is 12 for 80 trials, of which about 13% run to their end, so the search is",
        ),
        (
            changed(
                search={"trials": 12, "population": 12, "sampler": "gp"}, early_stopping={"enabled": False}
            ),
            "search.population is 12 for 12 trials, so the search is nearly random: gp proposes",
        ),
        (
            changed(search={"trials": 30, "warmup_trials": 30, "warmup": "sobol"}),
            "search.warmup_trials is 30 for 30 trials, so sobol proposes all of them and nsga2 none",
        ),
        (
            changed(search={"trials": 30, "warmup_trials": 40}),
            "search.warmup_trials is 40 for 30 trials, so tpe proposes all of them and nsga2 none",
        ),
        (
            changed(search={"sampler": "tpe", "crossover": "uniform"}),
            "search.crossover has no effect with tpe",
        ),
        (changed(search={"sampler": "gp", "warmup": "sobol"}), "search.warmup has no effect with gp"),
        (changed(search={"sampler": "tpe", "children": 8}), "search.children has no effect with tpe"),
        (
            changed(search={"sampler": "gp", "warmup_trials": 7}),
            "search.warmup_trials has no effect with gp",
        ),
        (
            changed(search={"sampler": "random", "mutation_prob": 0.5}),
            "search.mutation_prob has no effect with random",
        ),
        (
            changed(search={"sampler": "random", "population": 7}),
            "search.population has no effect with random",
        ),
        (
            changed(search={"min_improvement": 0.1}),
            "search.min_improvement has no effect: search.patience is null",
        ),
        (
            changed(search={"patience": 300}),
            "search.patience has no effect: it ends the search after 300 trainings that do not improve",
        ),
        (
            changed(search={"max_failures": 200}),
            "search.max_failures has no effect: it ends the search after 200 trainings that fail",
        ),
        (
            changed(early_stopping={"min_peers": 500}),
            "early_stopping has no effect: min_peers is 500, and the search has",
        ),
        (
            changed(early_stopping={"run_through": 1}),
            "early_stopping has no effect: run_through is 1, so no training is stopped",
        ),
        (
            changed(early_stopping={"keep": "1/8", "min_peers": 5}),
            "early_stopping.min_peers is 5, but a rung that keeps 1/8 of its trainings stops one only",
        ),
        (
            changed(early_stopping={"enabled": False, "eta": 4}),
            "early_stopping.eta has no effect: early_stopping.enabled is false",
        ),
        (changed(resources={"gpu": 2}), "resources.gpu is 2, but a training uses one GPU"),
        (changed(resources={"gpu": 1, "device": "cpu"}), "resources.gpu is 1, but resources.device is cpu"),
    ],
)
def test_what_looks_wrong_is_said(tmp_path: Path, content: Any, start: str) -> None:
    (warning,) = load(tmp_path, content).warnings
    assert warning.startswith(start)


@pytest.mark.parametrize(
    "content",
    [
        changed(),
        changed(search={"trials": 13, "population": 12, "sampler": "tpe"}),
        changed(search={"trials": 37, "population": 12, "sampler": "gp"}),
        changed(search={"trials": 13, "population": 12, "sampler": "gp"}, early_stopping={"enabled": False}),
        changed(search={"trials": 13, "population": 12, "warmup": "tpe"}),
        changed(search={"trials": 49, "population": 12, "warmup_trials": 48}),
        changed(search={"trials": 3, "population": 2}),
        changed(early_stopping={"min_peers": 100}),
        changed(evaluation={"loss": "margin", "step_size": "2/255", "random_start": "none"}),
        searched(temperature=NUMBER, alpha=ALPHA),
        searched(alpha=ALPHA),
        searched(beta=NUMBER, accuracy_loss={"type": "categorical", "choices": ["pgd", "mart"]}),
        {**searched(beta=NUMBER), "train": {"accuracy_loss": "torch.nn.functional:cross_entropy"}},
        changed(train={"accuracy_loss": "loat", "loat_late_from": 20}),
        changed(train={"accuracy_loss": "torch.nn.functional:cross_entropy"}),
        changed(train={"label_smoothing": 0.1}),
        {**searched(k_robust={"type": "float", "low": 0, "high": 1}), "train": {"k_accuracy": 1}},
        {**searched(epsilon={"type": "float", "low": 0, "high": "8/255"})},
    ],
)
def test_what_looks_right_is_not(tmp_path: Path, content: Any) -> None:
    assert load(tmp_path, content).warnings == ()


def test_a_k_accuracy_that_can_be_null_has_a_weight(tmp_path: Path) -> None:
    """Null means 1 - k_robust, which is 1 here: these trainings are of the accuracy objective alone."""
    content = changed(
        train={"k_robust": 0},
        parameters={"k_accuracy": {"type": "categorical", "choices": [None, 0]}},
    )
    assert load(tmp_path, content).train.accuracy_weight == 1
