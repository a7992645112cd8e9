"""Selected epoch against last epoch: what the front would lose with the last epoch of each training."""

from __future__ import annotations

from morel_search._format import points
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["last_epoch_words"]

LAST = ["last_clean_accuracy", "last_robust_accuracy"]


def last_epoch_words(run_data: RunData) -> str:
    """Compare the front with the last epochs of its trainings; empty when these were not recorded."""
    rows = run_data.front.dropna(subset=[*LAST, *POINT])
    if rows.empty:
        return ""
    own, last = (rows[columns].to_numpy(dtype=float) for columns in (POINT, LAST))
    earlier = int((own != last).any(axis=1).sum())
    if not earlier:
        return (
            "Selected epoch against last epoch: each network of the front has the accuracies of the last "
            "epoch of its training."
        )
    lost = own[:, 1] - last[:, 1]
    worst = rows.iloc[int(lost.argmax())]
    most = (
        f"; network {run_data.network(worst['number'], worst['epoch'])} would lose the most, "
        f"{points(lost.max())}"
        if lost.max() > 0
        else ""
    )
    return (
        f"Selected epoch against last epoch: for {earlier} of {len(rows)} networks an earlier epoch was "
        f"selected. With the last epochs, the front would have {points(abs(lost.mean()))} "
        f"{'less' if lost.mean() >= 0 else 'more'} robust validation accuracy on average{most}."
    )
