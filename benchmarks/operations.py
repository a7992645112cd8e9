"""How many operations one training step asks a device for.

    python benchmarks/operations.py               # prints a table; a minute on a CPU

On a GPU each operation costs the host about 5 to 10 microseconds, however small it is, so their number bounds
the step of a small network from below. It does not depend on the device's speed: it is counted here by a
dispatch mode of torch, on any machine. Views and empty tensors are left out, as they start no kernel. A
``_foreach`` operation counts once, as on a GPU, where it is one kernel or a few.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.datasets.loading import Development, ImageSet
from morel_search.training.settings import EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.trainer import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RESNET18 = NetworkSettings(name="resnet18", options={"width": 8})
"""The width changes no number of operations."""
PARTS = ("step", "attack", "refresh", "backward", "optimizer", "average")
READS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "item", "masked_select")
"""Operations whose result the host waits for."""
NO_KERNEL = ("empty", "new_empty", "detach", "lift_fresh", "empty_like", "empty_strided", "new_empty_strided")


class OperationCounter(TorchDispatchMode):
    """Counts operations below automatic differentiation, by name.

    Args:
        on_host: Tensors that are on the host on every device: operations on them are left out.
    """

    def __init__(self, on_host: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._on_host = {id(tensor) for tensor in on_host}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> object:
        """Count one operation, and run it."""
        first = arguments[0][:1] if arguments and isinstance(arguments[0], list) else arguments[:1]
        if _starts_a_kernel(function) and not (first and id(first[0]) in self._on_host):
            self.counts[function.overloadpacket.__name__] += 1
        return function(*arguments, **(keywords or {}))

    @property
    def total(self) -> int:
        """All operations."""
        return sum(self.counts.values())

    @property
    def reads(self) -> int:
        """Operations whose result the host waits for."""
        return sum(self.counts[name] for name in READS)


def _starts_a_kernel(function: Any) -> bool:
    if function.overloadpacket.__name__ in NO_KERNEL:
        return False
    results = [result.alias_info for result in function._schema.returns]
    return not (results and all(alias is not None and not alias.is_write for alias in results))


def training(
    steps: int,
    network: NetworkSettings = RESNET18,
    compute: Compute = FLOAT32,
    shape: tuple[int, int, int] = (3, 32, 32),
    **more: Any,
) -> Training:
    """Return a TRADES and MOREL training on random images, with 10 attack steps."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4 * steps, *shape), dtype=torch.uint8, generator=generator)
    data = ImageSet(images, torch.arange(4 * steps) % 10)
    chosen: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 4,
        "attack_steps": 10,
        "accuracy_loss": "trades",
        "k_robust": 0.3,
        "alpha": 0.1,
        "ema": 0.99,
        "epsilon": Fraction(8, 255),
    }
    return Training(
        TrainSettings(**{**chosen, **more}),
        network,
        Development(data, data, tuple("0123456789")),
        EvaluationSettings(every=1000),
        seed=0,
        compute=compute,
    )


def step_counts(**options: Any) -> dict[str, OperationCounter]:
    """Count the operations of one step by its parts: those of an epoch of three steps beyond one of two.

    Args:
        options: Those of :func:`training`.
    """
    two, three = (_epoch_counts(training(steps, **options)) for steps in (2, 3))
    counts = {}
    for name, counter in three.items():
        counts[name] = OperationCounter()
        counts[name].counts = counter.counts - two[name].counts
    return counts


def _epoch_counts(run: Training) -> dict[str, OperationCounter]:
    run.train_epoch()  # builds the frozen copy and the optimizer's state
    steps = [state["step"] for state in run.optimizer.state.values() if "step" in state]
    counters = {name: OperationCounter(steps) for name in PARTS}
    adversary: Any = run.step._adversary
    places: list[tuple[object, str, str]] = [
        (run.step, "_attacked" if hasattr(run.step, "_attacked") else "attack", "attack"),
        (adversary, "refresh", "refresh"),
        (torch.Tensor, "backward", "backward"),
        (run.optimizer, "step", "optimizer"),
    ]
    if run.average is not None:
        method = "update" if hasattr(run.average, "update") else "update_parameters"
        places.append((run.average, method, "average"))
    with ExitStack() as stack:
        for place, method, part in places:
            watched = _counting(getattr(place, method), counters[part])
            stack.enter_context(mock.patch.object(place, method, watched))
        stack.enter_context(counters["step"])
        run.train_epoch()
    return counters


def _counting(function: Callable[..., Any], counter: OperationCounter) -> Callable[..., Any]:
    def watched(*arguments: Any, **keywords: Any) -> object:
        with counter:
            return function(*arguments, **keywords)

    return watched


def table(compute: Compute, optimizer: str) -> dict[str, int]:
    """Return the operations of each part of a ResNet-18 step; ``rest`` is what no part holds."""
    counts = step_counts(compute=compute, optimizer=optimizer)
    totals = {name: counter.total for name, counter in counts.items()}
    attack = totals["attack"] - totals["refresh"]
    inside = attack + sum(totals[name] for name in ("refresh", "backward", "optimizer", "average"))
    return {
        **totals,
        "attack": attack,
        "forward and the rest": totals["step"] - inside,
        "reads": counts["step"].reads,
    }


def main() -> None:
    """Count the parts of a step, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    tables = {
        f"{compute.precision}, {optimizer}": table(compute, optimizer)
        for compute in (FLOAT32, Compute("bfloat16", channels_last=True))
        for optimizer in ("sgd", "adamw")
    }
    if arguments.json:
        print(json.dumps(tables, indent=2))
        return
    names = list(next(iter(tables.values())))
    print("| step | " + " | ".join(names) + " |\n| --- |" + " ---: |" * len(names))
    for title, row in tables.items():
        print(f"| {title} | " + " | ".join(str(row[name]) for name in names) + " |")


if __name__ == "__main__":
    main()
