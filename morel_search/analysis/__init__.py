"""Reading a run folder: front, hypervolume, importance, figures and the report; needs neither torch nor Ray."""
