"""The report: one self-contained page, its figures and its sentences."""
