"""Find the trade-off between clean and robust accuracy of MOREL trainings."""

__version__ = "0.1.0"
