"""The run folder: paths, settings, tables, attack records, atomic writes and locks."""
