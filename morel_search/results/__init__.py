"""The run folder: its files, tables and records, atomic writes and locks."""
