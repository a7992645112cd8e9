"""Workflows: one module for each task (search, verify, retrain), and for their output and files."""
