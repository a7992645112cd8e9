"""Ray's token of this user: nobody else can read it, because it lets its holder run code as this user."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["make_token_private"]


def make_token_private() -> None:
    """Give ``~/.ray/auth_token`` the mode 0600, and create it if it is missing and Ray would.

    Ray creates it with the mode 0644, which every user of the machine can read. A token or a mode of
    authentication that the environment gives is left as it is.
    """
    with suppress(OSError, RuntimeError):  # Ray's own message says what is wrong with the file
        path = Path.home() / ".ray" / "auth_token"
        if not path.exists():
            other = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
            if not other and os.environ.get("RAY_AUTH_MODE", "token").lower() == "token":
                _create(path)
        elif path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _create(path: Path) -> None:
    """Create the file in one step, unless another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        path.hardlink_to(new)
    finally:
        new.unlink(missing_ok=True)
