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
    authentication that the environment gives is left as it is. Where the file can be neither created nor
    read, as without a home folder, this process and its children get a token of their own.
    """
    other = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    wanted = not other and os.environ.get("RAY_AUTH_MODE", "token").lower() == "token"
    readable = False
    with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home folder
        path = Path.home() / ".ray" / "auth_token"
        if path.exists():
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
        elif wanted:
            _create(path)
        readable = os.access(path, os.R_OK)
    if wanted and not readable:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _create(path: Path) -> None:
    """Create the file in one step, unless another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # another process has created it
            path.hardlink_to(new)
    finally:
        new.unlink(missing_ok=True)
