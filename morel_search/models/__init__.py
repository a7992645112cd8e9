"""Networks as files: checkpoints, exported folders, other formats, and the model card."""
