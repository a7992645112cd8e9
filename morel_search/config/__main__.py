"""``python -m morel_search.config``: prints the settings of a space file as markdown tables."""

from __future__ import annotations

import sys

from morel_search.config.fields import document


def main() -> int:
    """Print the tables."""
    sys.stdout.write(document())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
