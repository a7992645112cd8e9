"""Trackers: the trials of a run in TensorBoard, MLflow and Weights & Biases, sent from the run folder."""
