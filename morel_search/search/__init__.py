"""Running many trainings: Ray Tune places them, Optuna proposes them, the study remembers them."""
