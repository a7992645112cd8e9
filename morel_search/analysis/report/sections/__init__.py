"""The sections of the report, one module for each; the page puts them in order."""
