"""How much of a mixture's gain is mixing, and how much any ensemble or larger network has.

    python -m morel_search.run --space search_spaces/digits.yaml --name digits16 --trials 16
    python -m morel_search.mix results/digits16
    python benchmarks/mixtures.py results/digits16       # writes mixtures.md; minutes on two CPU cores

The run must be one of the digits, or of other images with the network ``small_cnn``. Its mixtures with the
highest sums of validation accuracies, and their members, are attacked on the test images by AutoAttack's
APGD-CE and APGD-T, through the mixture. The most robust members are trained once more with another seed, and
once with twice the width.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from morel_search._consent import NO_CODE
from morel_search._format import percent
from morel_search.analysis.differences import difference_words
from morel_search.analysis.intervals import paired_difference, wilson
from morel_search.analysis.run_data import RunData, read_run_data
from morel_search.errors import RunFolderError
from morel_search.models.export import settings_of
from morel_search.models.load import load_model
from morel_search.models.recipe import TrainingConfig, read_training_config, train_from_config
from morel_search.models.sections import read_section
from morel_search.results.folder import open_run_folder
from morel_search.results.mixtures import MixtureEntry
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.networks.mixture import Mixture
from morel_search.training.settings import DataSettings, EvaluationSettings
from morel_search.verification.attack_suite import AttackSuite

HERE = Path(__file__).parent
ATTACKS = ("apgd-ce", "apgd-t")
OTHER_SEED = 1_000_003
"""Added to the seed of a training for its second training."""

HEAD = """# Mixtures of networks

Made by `python benchmarks/mixtures.py` on one run of the digits: {run}.
Test images: {images}, robust under AutoAttack's APGD-CE and APGD-T through the network of the row, {norm},
epsilon {epsilon}. In parentheses: 95% intervals over the images. One run and one seed: the intervals do not
include how much another search or another training would change. The mixtures were chosen on validation
images. A convolution of twice the width has about four times the operations, so that row costs more than a
mixture.
"""


@dataclass(frozen=True, eq=False)
class Row:
    """A network with the images that it answers correctly.

    Attributes:
        name: Its name in the table.
        passes: Forward passes of one prediction.
        parameters: Number of its parameters.
        clean: Which images are correctly classified, shape (N,).
        robust: Which images are so after the attacks, shape (N,).
    """

    name: str
    passes: int
    parameters: int
    clean: NDArray[np.bool_]
    robust: NDArray[np.bool_]


class Judge:
    """The test images and the attacks of a run."""

    def __init__(self, data: DataSettings, evaluation: EvaluationSettings) -> None:
        test = load_test(data)
        self.images, self.labels, self.evaluation = to_float(test.images), test.labels, evaluation

    def row(self, name: str, model: nn.Module) -> Row:
        """Attack a network."""
        model = model.eval()
        suite = AttackSuite(model, self.images, self.evaluation)
        clean = suite.correct(self.images, self.labels)
        robust = clean.clone()
        for attack in ATTACKS:
            left = robust.nonzero().squeeze(1)
            if attack in suite.names and len(left):
                robust[left] = suite.robust_mask(attack, self.images[left], self.labels[left])
        passes = model.passes if isinstance(model, Mixture) else 1
        parameters = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name}: {float(clean.float().mean()):.3f} / {float(robust.float().mean()):.3f}", flush=True)
        return Row(name, passes, parameters, clean.numpy(), robust.numpy())


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run with mixtures")
    parser.add_argument("--mixtures", type=int, default=4, help="number of mixtures, at most")
    parser.add_argument("--again", type=int, default=2, help="number of members that are trained again")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    run_data = read_run_data(open_run_folder(arguments.run))
    by_sum = sorted(run_data.mixtures, key=lambda entry: -sum(entry.validation))
    entries = tuple(by_sum[: arguments.mixtures])
    if not entries:
        raise RunFolderError(f"{arguments.run} has no mixtures; python -m morel_search.mix makes them")
    data = read_section(DataSettings, run_data.settings.section("data"))
    evaluation = read_section(EvaluationSettings, run_data.settings.section("evaluation"))
    judge = Judge(data, evaluation)
    folders = {name: _folder(run_data, name) for entry in entries for name in entry.members}
    models = {name: load_model(folder) for name, folder in folders.items()}
    alone = {name: judge.row(f"{name}{_label(run_data, name)}", model) for name, model in models.items()}
    mixed = {
        entry.name: judge.row(entry.name, load_model(run_data.run.mixture_models / entry.name))
        for entry in entries
    }
    robust_first = sorted(alone, key=lambda name: -float(alone[name].robust.mean()))
    again: dict[str, list[Row]] = {}
    development = load_development(data)
    for name in robust_first[: arguments.again]:
        config = read_training_config(settings_of(folders[name]), folders[name], NO_CODE)
        _, second = train_from_config(
            replace(config, seed=config.seed + OTHER_SEED), development, compute=FLOAT32
        )
        _, wide = train_from_config(_twice_as_wide(config), development, compute=FLOAT32)
        again[name] = [
            judge.row(f"{name}, another seed", second),
            judge.row(
                f"{name} and its other seed, half and half",
                Mixture([models[name], second], [0.5, 0.5]),
            ),
            judge.row(f"{name}, twice the width", wide),
        ]
    text = "\n".join(
        [
            HEAD.format(
                run=f"{len(run_data.complete)} finished trainings, {len(run_data.front)} on the front",
                images=len(judge.labels),
                norm=evaluation.norm,
                epsilon=evaluation.epsilon,
            ),
            _table([*alone.values(), *mixed.values(), *(row for rows in again.values() for row in rows)]),
            "",
            *_differences(entries, alone, mixed, again),
        ]
    )
    (HERE / "mixtures.md").write_text(text + "\n")
    print(text)


def _folder(run_data: RunData, name: str) -> Path:
    places = (run_data.run.front_models / name, run_data.run.control_models / name)
    return next(place for place in places if place.is_dir())


def _label(run_data: RunData, name: str) -> str:
    label = next(entry.label for entry in run_data.networks if entry.name == name)
    return f" ({label} control)" if label else ""


def _twice_as_wide(config: TrainingConfig) -> TrainingConfig:
    options = {**config.network.options, "width": 2 * int(config.network.options["width"])}
    return replace(config, network=replace(config.network, options=options))


def _table(rows: list[Row]) -> str:
    lines = ["| network | forward passes | parameters | clean | robust |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [_cell(row.clean), _cell(row.robust)]
        lines.append(f"| {row.name} | {row.passes} | {row.parameters:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(correct: NDArray[np.bool_]) -> str:
    low, high = wilson(int(correct.sum()), len(correct))
    return f"{percent(float(correct.mean()))} ({100 * low:.1f} to {100 * high:.1f})"


def _differences(
    entries: tuple[MixtureEntry, ...],
    alone: Mapping[str, Row],
    mixed: Mapping[str, Row],
    again: Mapping[str, list[Row]],
) -> list[str]:
    """Compare on the same images: mixtures with their members, and with what has the same cost."""
    lines = [
        "Differences on the same images; an interval that includes 0 is not beyond chance.",
        "",
        "| network | compared with | clean | robust |",
        "|---|---|---|---|",
    ]
    for entry in entries:
        for member in entry.members:
            lines.append(_difference(mixed[entry.name], alone[member]))
    for name, (second, ensemble, wide) in again.items():
        lines += [
            _difference(second, alone[name]),
            _difference(ensemble, alone[name]),
            _difference(wide, alone[name]),
        ]
        lines += [
            _difference(mixed[entry.name], other)
            for entry in entries
            if name in entry.members
            for other in (ensemble, wide)
        ]
    return lines


def _difference(first: Row, second: Row) -> str:
    clean = difference_words(paired_difference(first.clean, second.clean))
    robust = difference_words(paired_difference(first.robust, second.robust))
    return f"| {first.name} | {second.name} | {clean} | {robust} |"


if __name__ == "__main__":
    main()
