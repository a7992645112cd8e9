"""Networks as files: checkpoints, exported folders, other formats, the model card."""
