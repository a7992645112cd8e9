"""The plan of a search, as ``--dry-run`` prints it: settings, budget, and an estimate of the cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from morel_search._format import duration, evaluation_text, percent
from morel_search.config import Parameter, SearchSettings, Space, condition_text, format_value
from morel_search.search.successive_halving import rungs_of
from morel_search.workflows.preflight import TIMED_BATCHES, PreflightResult, preflight_warnings

__all__ = ["plan_text"]


def plan_text(space: Space, preflight_result: PreflightResult, epoch_seconds: float, concurrent: int) -> str:
    """Describe a search: the searched parameters, the budget, and the estimated cost.

    Args:
        space: The space.
        preflight_result: The sizes of the data and the network.
        epoch_seconds: Measured seconds of one epoch, see :func:`morel_search.workflows.preflight.time_epoch`.
        concurrent: Number of trials that run at the same time.

    Returns:
        One line a setting, then one line a warning, and one a note about the data.
    """
    search, resources, images = space.search, space.resources, preflight_result
    trials = search.trials + len(space.controls)
    trial_seconds = epoch_seconds * space.train.epochs
    rungs = rungs_of(space)
    total = _total(trial_seconds * trials / concurrent, _least_share(space, rungs))
    shape = "x".join(map(str, images.image_shape))
    lines = [
        f"data         {space.data.name}: {images.train} training and {images.validation} validation images, "
        f"{shape}, {images.classes} classes",
        f"network      {space.network.name}: {images.weights:,} weights",
        f"compute      {images.compute}",
        f"evaluation   {evaluation_text(space.describe()['evaluation'])}",
        "parameters",
        *(f"  {parameter.name:<22} {_range(parameter)}" for parameter in space.parameters),
        f"search       {search.sampler}: {search.trials} trials{_generations(search)}, seed {search.seed}",
        f"stopping     {_stopping(space, rungs)}",
        *([f"constraints  {', '.join(map(str, space.constraints))}"] if space.constraints else []),
        f"controls     {', '.join(control.name for control in space.controls) or 'none'}",
        f"budget       {trials} trials of {space.train.epochs} epochs{_limits(search)}",
        f"resources    {resources.cpu:g} CPU and {resources.gpu:g} GPU for each trial ({resources.device}), "
        f"{concurrent} trials at a time",
        f"cost         about {duration(trial_seconds)} for each trial with the settings of train, {total} "
        f"in all (measured on {TIMED_BATCHES} batches; searched attack steps change it)",
    ]
    lines += [f"warning: {warning}" for warning in preflight_warnings(space, images)]
    return "\n".join([*lines, *(f"note: {note}" for note in images.notes)])


def _generations(search: SearchSettings) -> str:
    if search.is_genetic:
        start = min(search.trials, max(search.least_warmup, search.population))
        generations = (search.trials - start) / search.population
        return (
            f", the first {start} by {search.warmup}, then population {search.population} (about "
            f"{generations:.1f} generations)"
        )
    return "" if search.sampler == "random" else f", the first {search.population} at random"


def _stopping(space: Space, rungs: Sequence[int]) -> str:
    if not rungs:
        return "none: every trial is trained for all epochs"
    settings = space.early_stopping
    return (
        f"the best {percent(float(settings.share), 0)} of the trials continue after {_epochs(rungs)} "
        f"({settings.ranking}); {percent(settings.run_through, 0)} of the trials are never stopped"
    )


def _epochs(rungs: Sequence[int]) -> str:
    """Return rungs as text: "1 epoch", "2 and 4 epochs", "1, 3, 9 epochs"."""
    numbers = (" and " if len(rungs) < 3 else ", ").join(map(str, rungs))
    return f"{numbers} epoch{'' if rungs[-1] == 1 else 's'}"


def _least_share(space: Space, rungs: Sequence[int]) -> float:
    """Return the least share of all epochs that is trained: early stopping stops as many trials as it can."""
    share, continuing = 0.0, 1.0
    for begin, end in pairwise([0, *rungs, space.train.epochs]):
        share += continuing * max(0, end - begin) / space.train.epochs
        continuing *= float(space.early_stopping.share)
    run_through = space.early_stopping.run_through
    return min(1.0, run_through + (1 - run_through) * share)


def _total(seconds: float, least_share: float) -> str:
    if least_share >= 1:
        return duration(seconds)
    return f"{duration(seconds * least_share)} to {duration(seconds)}"


def _limits(search: SearchSettings) -> str:
    limits = []
    if search.max_hours is not None:
        limits.append(f"{search.max_hours:g} hours")
    if search.max_gpu_hours is not None:
        limits.append(f"{search.max_gpu_hours:g} GPU-hours")
    if search.patience is not None:
        limits.append(
            f"{search.patience} trials in which the hypervolume rises by less than {search.min_improvement:g}"
        )
    return f", or {' or '.join(limits)}" if limits else ""


def _range(parameter: Parameter) -> str:
    if parameter.kind == "categorical":
        text = ", ".join(format_value(choice) for choice in parameter.choices)
    else:
        text = f"{format_value(parameter.low)} to {format_value(parameter.high)}"
        if parameter.log:
            text += " (log)"
        elif parameter.step is not None:
            text += f" in steps of {format_value(parameter.step)}"
    when = " and ".join(
        f"{name} is {condition_text(condition)}" for name, condition in parameter.when.items()
    )
    return f"{text}, when {when}" if when else text
