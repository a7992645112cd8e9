"""The epoch that counts against the last one: whether the front's trainings went on for too long."""

from __future__ import annotations

from morel_search._format import points
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["last_epoch_words"]

LAST = ["last_clean_accuracy", "last_robust_accuracy"]


def last_epoch_words(run_data: RunData) -> str:
    """Say what the front's networks would have with their last epoch instead.

    Empty where that is not known.
    """
    rows = run_data.front.dropna(subset=[*LAST, *POINT])
    if rows.empty:
        return ""
    own, last = (rows[columns].to_numpy(dtype=float) for columns in (POINT, LAST))
    earlier = int((own != last).any(axis=1).sum())
    if not earlier:
        return "Best and last epoch: every network of the front is the last epoch of its training, or as accurate as the last epoch."
    lost = own[:, 1] - last[:, 1]
    worst = rows.iloc[int(lost.argmax())]
    most = (
        f"; network {run_data.network(worst['number'], worst['epoch'])} would lose the most, "
        f"{points(lost.max())}"
        if lost.max() > 0
        else ""
    )
    return (
        f"Best and last epoch: for {earlier} of {len(rows)} networks an earlier epoch was selected. With the "
        f"last epoch, the front would have "
        f"{points(lost.mean())} {'less' if lost.mean() >= 0 else 'more'} robust accuracy on average{most}."
    )
