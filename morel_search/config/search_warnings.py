"""Warnings about settings of the search and of early stopping that do nothing, or not what they seem to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

from morel_search._format import percent
from morel_search.config.possible_values import highest, parameter_of, possible_values
from morel_search.config.search_settings import EarlyStoppingSettings, SearchSettings
from morel_search.config.space import Space

__all__ = ["search_warnings"]

_GENETIC_ONLY = (
    "children", "crossover", "crossover_prob", "swapping_prob", "mutation", "mutation_prob", "warmup",
    "warmup_trials",
)  # fmt: skip
_OF_STOPPING = ("keep", "grace", "eta", "rungs", "min_peers", "ranking", "run_through")


def search_warnings(space: Space) -> Iterator[str]:
    """Return a sentence for each setting of ``search`` and ``early_stopping`` that is probably a mistake."""
    return chain(_size(space), _sampler(space), _stopping(space), _ending(space))


def _sampler(space: Space) -> Iterator[str]:
    """Settings of the search that do nothing with its sampler, or with its number of trials."""
    search, defaults = space.search, SearchSettings()
    unused = () if search.is_genetic else _GENETIC_ONLY
    for name in (*unused, "population") if search.sampler == "random" else unused:
        if getattr(search, name) != getattr(defaults, name):
            yield f"search.{name} has no effect with {search.sampler}"
    if search.least_warmup >= search.trials:
        yield (
            f"search.warmup_trials is {search.least_warmup} for {search.trials} trials, so {search.warmup} "
            f"proposes all of them and {search.sampler} none"
        )
    elif search.is_genetic and search.population >= search.trials:
        yield (
            f"search.population is {search.population} for {search.trials} trials, so the search is random: "
            f"{search.sampler} selects parents from the second population on"
        )
    if search.sampler == "tpe" and search.population >= search.trials:
        yield (
            f"search.population is {search.population} for {search.trials} trials, so the search is random: "
            f"tpe proposes settings after as many trials"
        )
    rungs = space.early_stopping.levels(int(highest(space, "epochs")))
    share = float(space.early_stopping.share) ** len(rungs)
    if search.sampler == "gp" and search.population / share >= search.trials:
        runs = f", of which about {percent(share, 0)} run to their end" if share < 1 else ""
        yield (
            f"search.population is {search.population} for {search.trials} trials{runs}, so the search is "
            f"nearly random: gp proposes settings after as many trainings have run to their end"
        )


def _size(space: Space) -> Iterator[str]:
    search = space.search
    sizes = [None if parameter.values is None else len(parameter.values) for parameter in space.parameters]
    configurations = math.prod(size for size in sizes if size is not None)
    if None not in sizes and configurations < search.trials:
        yield (
            f"parameters: the space has at most {configurations} configurations for {search.trials} trials, "
            f"so some are trained more than once"
        )


def _stopping(space: Space) -> Iterator[str]:
    stopping, epochs = space.early_stopping, highest(space, "epochs")
    if not stopping.enabled:
        defaults = EarlyStoppingSettings()
        for name in _OF_STOPPING:
            if getattr(stopping, name) != getattr(defaults, name):
                yield f"early_stopping.{name} has no effect: early_stopping.enabled is false"
        return
    if not stopping.levels(int(epochs)):
        yield (
            f"early_stopping has no effect: its first rung is after {stopping.grace or 1} epochs, and a "
            f"training has {epochs}"
        )
    trainings = space.search.trials + len(space.controls)
    if stopping.min_peers > trainings:
        yield (
            f"early_stopping has no effect: min_peers is {stopping.min_peers}, and the search has "
            f"{trainings} trainings"
        )
    if stopping.run_through == 1:
        yield "early_stopping has no effect: run_through is 1, so no training is stopped"
    least = math.ceil(1 / stopping.share)
    if stopping.min_peers < least and stopping.min_peers != EarlyStoppingSettings().min_peers:
        yield (
            f"early_stopping.min_peers is {stopping.min_peers}, but a rung that keeps {stopping.share} of "
            f"its trainings stops one only after it has seen {least} of them"
        )
    if parameter_of(space, "epochs"):
        yield (
            "epochs is searched, so early stopping compares trainings that have different learning rates at "
            "the same rung"
        )
    if "constant" not in possible_values(space, "schedule") and space.search.select_epoch == "last":
        yield (
            "search.select_epoch is last, but early stopping compares accuracies at a rung, where the "
            "learning rate is still high"
        )


def _ending(space: Space) -> Iterator[str]:
    search = space.search
    if search.max_gpu_hours is not None and not space.resources.gpu:
        yield "search.max_gpu_hours has no effect: resources.gpu is 0"
    if search.patience is None and search.min_improvement != SearchSettings().min_improvement:
        yield "search.min_improvement has no effect: search.patience is null"
    trainings = search.trials + len(space.controls)
    for name, unit in (("patience", "that do not improve the front"), ("max_failures", "that fail")):
        limit = getattr(search, name)
        if limit != getattr(SearchSettings(), name) and limit > trainings:
            yield (
                f"search.{name} has no effect: it ends the search after {limit} trainings {unit}, and the "
                f"search has {trainings}"
            )
