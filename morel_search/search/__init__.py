"""The search without Ray: proposals by Optuna, early stopping, the limits, and the study on disk."""
