"""The digits space as a problem of benchmarks/search.py: a model of 400 recorded trainings, with their noise.

A search asks for configurations that nobody trained. A random forest that is fitted to
``digits_trainings.csv`` answers for them: both accuracies after each epoch under the quick attack, and those
under the final attack. To this comes what another seed changes: the differences of a recorded training from
the mean of the three trainings of its configuration, drawn at random, and scaled so that their variance is
that of a single training. NAS-Bench-301 (arXiv 2008.09777) made its problems in the same way. It is a forest
because no method that is compared uses one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd
from _simulation import Point, Training
from numpy.typing import NDArray

from morel_search.config import load_space
from morel_search.search.distributions import configuration_key, decode, distributions

__all__ = ["Digits"]

HERE = Path(__file__).parent
TABLE, SPACE = HERE / "digits_trainings.csv", HERE.parent / "search_spaces" / "digits.yaml"
OWN_SHARE = np.array([0.17, 0.8])
"""Share of what a seed changes on validation images that test images see too, for both accuracies.

Measured by ``benchmarks/seed_noise.py``; the rest is that of the validation images.
"""

REFERENCE = (0.9, 0.1)
"""Clean and robust accuracy from which the hypervolume is measured, near the front."""

RANDOM = 20_000
"""Number of random configurations whose front is the measure of a search's."""

Floats = NDArray[np.float64]


class Digits:
    """The forest as a problem; see the module.

    An epoch is one unit of the budget, which is that of 80 whole trainings. Of the trainings that ran to
    their end, those are taken that are on the front by their own figures, as a search takes them; they are
    judged by what is expected of them on other images: the forest's answer, and the share of the change by
    their seed that is their own (:data:`OWN_SHARE`). The quality is the hypervolume of these, divided by that
    of the best answers for :data:`RANDOM` random configurations. It may exceed 1: seeds differ.

    Attributes:
        explained: Share of the variance of both final accuracies that the forest explains out of bag.
    """

    name, epochs, budget, population, steps = "digits", 10, 80 * 10, 20, 40

    def __init__(self) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._space = load_space(SPACE)
        self.space = distributions(self._space)
        table = pd.read_csv(TABLE)
        self._losses = sorted(table["accuracy_loss"].unique())
        self._numbers = [name for name in self.space if name != "accuracy_loss"]
        rows = table.to_dict("records")
        answers = np.stack([_recorded(row) for row in rows])
        self.forest = RandomForestRegressor(
            300, min_samples_leaf=2, max_features=0.5, oob_score=True, random_state=0, n_jobs=1
        )
        self.forest.fit(np.stack([self._features(row) for row in rows]), answers)
        missed = ((answers - self.forest.oob_prediction_) ** 2).mean(axis=0) / answers.var(axis=0)
        self.explained: Floats = 1.0 - missed[-2:]
        self._noise = np.concatenate(
            [
                (answers[group] - answers[group].mean(axis=0)) * np.sqrt(len(group) / (len(group) - 1))
                for group in table.groupby("number").indices.values()
                if len(group) > 1
            ]
        )
        random = np.stack([self._features(values) for values in self._random()])
        self._best = self._volume(self.forest.predict(random)[:, -2:])
        self._answers: dict[Hashable, Floats] = {}

    def configuration_key(self, params: Mapping[str, Any]) -> Hashable:
        return configuration_key(self._space, decode(self._space, params))

    def training(self, params: Mapping[str, Any], seed: int, number: int) -> Training:
        key = self.configuration_key(params)
        if key not in self._answers:
            features = self._features(decode(self._space, params))
            self._answers[key] = self.forest.predict(features[None])[0]
        answer = self._answers[key]
        rng = np.random.default_rng((seed, number))
        values = np.clip(answer + self._noise[rng.integers(len(self._noise))], 0.0, 1.0)
        curve = values[:-2].reshape(2, self.epochs)
        points: list[Point] = []
        for clean, robust in curve.T[:-1]:  # selected up to each epoch: largest sum, as in this project
            points.append(max([*points[-1:], (clean, robust)], key=lambda pair: (sum(pair), pair[1])))
        points.append((float(values[-2]), float(values[-1])))
        expected = answer[-2:] + OWN_SHARE * (values[-2:] - answer[-2:])
        time = float(rng.lognormal(0.0, 0.3))
        return Training(points, time, expected=(float(expected[0]), float(expected[1])))

    def quality(self, trainings: Sequence[Training]) -> float:
        own = np.array([training.points[-1] for training in trainings])
        front = moocore.is_nondominated(own, maximise=True, keep_weakly=True)
        return self._volume(np.array([training.expected for training in trainings])[front]) / self._best

    def _features(self, values: Mapping[str, Any]) -> Floats:
        """Return the numbers of a configuration; -1 for inactive parameters."""
        loss = [float(values["accuracy_loss"] == name) for name in self._losses]
        numbers = [_number(values.get(name)) for name in self._numbers]
        return np.array([*loss, *numbers])

    def _random(self) -> list[dict[str, Any]]:
        from optuna.samplers import RandomSampler
        from optuna.study import create_study

        study = create_study(sampler=RandomSampler(seed=0))
        return [decode(self._space, study.ask(self.space).params) for _ in range(RANDOM)]

    @staticmethod
    def _volume(points: Floats) -> float:
        above = points[(points > REFERENCE).all(axis=1)]
        return float(moocore.hypervolume(above, ref=REFERENCE, maximise=True)) if len(above) else 0.0


def _number(value: Any) -> float:
    return -1.0 if value is None or pd.isna(value) else float(value)


def _recorded(row: Mapping[str, Any]) -> Floats:
    """Return clean and robust accuracy after each epoch, then those under the final attack."""
    counts = [*row["clean"].split(), *row["robust"].split(), row["final_clean"], row["final_robust"]]
    return np.array(counts, dtype=float) / row["images"]
