"""benchmarks/operations.py: the number of operations of a training step, none of which is waited for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from morel_search.training.settings import NetworkSettings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {"network": NetworkSettings(name="small_cnn", options={"width": 8}), "shape": (1, 8, 8)}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import operations

    return operations


def test_the_counter_counts_kernels_and_reads_but_no_views(counting: Any) -> None:
    with counting.OperationCounter() as counter:
        x = torch.ones(4)  # empty and fill, of which the fill counts
        y = x.view(2, 2).t().detach()
        torch._foreach_add_([x, x.clone()], 1)
        assert float(y.sum()) == 8
    assert counter.counts == {"ones": 1, "clone": 1, "_foreach_add_": 1, "sum": 1, "_local_scalar_dense": 1}
    assert counter.reads == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_of_resnet18_is_few_operations_and_waits_for_none(counting: Any, optimizer: str) -> None:
    counts = counting.step_counts(attack_steps=2, optimizer=optimizer)
    totals = {name: counter.total for name, counter in counts.items()}
    assert all(totals.values()), "a part that was not counted"
    assert totals["refresh"] <= 30
    assert totals["optimizer"] <= 8
    assert totals["average"] <= 2
    assert totals["attack"] - totals["refresh"] <= 60 + 2 * 115
    assert totals["step"] - totals["attack"] <= 590
    assert counts["step"].reads == 0


@pytest.mark.parametrize("loss", ["trades", "mart", "loat", "pgd", "none"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_step_waits_for_the_device(counting: Any, loss: str, norm: str) -> None:
    options = {**SMALL, "accuracy_loss": loss, "norm": norm, "attack_steps": 2, "optimizer": "adamw"}
    assert counting.step_counts(**options)["step"].reads == 0


def test_a_training_does_not_import_torchs_compiler() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import operations\n"
        "from morel_search.training.settings import NetworkSettings\n"
        "network = NetworkSettings(name='small_cnn', options={'width': 8})\n"
        "training = operations.training(2, network=network, shape=(1, 8, 8), optimizer='adamw')\n"
        "training.run_epoch()\n"
        "print('torch._dynamo' in sys.modules, 'sympy' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.split() == ["False", "False"]
