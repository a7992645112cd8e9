"""Analysis of a run folder: front, hypervolume, importance, report. It needs neither torch nor Ray."""
