"""Which user PostgreSQL runs as: ourselves, or, since it refuses root, an unprivileged user in root's stead."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import LibraryError

SERVICE_USERS = ("postgres", "nobody")
NEXT_STEP = "Run ComfyUI as a normal user, or name a PostgreSQL server in DIFFUSION_TOOLKIT_DSN."


@dataclass(frozen=True)
class OtherUser:
    """An existing user without privileges, for root to run PostgreSQL as."""

    uid: int
    gid: int

    def command(self, command: list[str]) -> list[str]:
        """The command, run as this user (see `_drop_root`)."""
        launcher = Path(__file__).with_name("_drop_root.py")
        return [sys.executable, "-I", "-S", str(launcher), str(self.uid), str(self.gid), *command]

    def own(self, path: Path) -> None:
        """Give the user a file or folder of ours, with everything in it."""
        try:
            if path.lstat().st_uid != self.uid:
                os.lchown(path, self.uid, self.gid)
                for folder, folders, files in os.walk(path):
                    for name in (*folders, *files):
                        os.lchown(Path(folder, name), self.uid, self.gid)
        except OSError as error:
            raise LibraryError(
                f"PostgreSQL does not run as root, and {path} cannot be given to another user ({error}). {NEXT_STEP}"
            ) from error


def user_for(directory: Path, initialised: bool) -> OtherUser | None:
    """The user to run as for a directory; None to run as ourselves, the case for everyone but root.

    A directory that already belongs to another user stays theirs, so that a later start by them works. initdb, unlike
    the server, needs that user to have an entry in the machine's list of users.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    owner = directory.stat()
    if owner.st_uid != 0 and (initialised or _listed(pwd.getpwuid, owner.st_uid)):
        return OtherUser(owner.st_uid, owner.st_gid)
    for name in SERVICE_USERS:
        user = _listed(pwd.getpwnam, name)
        if user and user.pw_uid != 0:
            return OtherUser(user.pw_uid, user.pw_gid)
    raise LibraryError(f"PostgreSQL does not run as root, and this machine has no user named postgres or nobody. {NEXT_STEP}")


def _listed(look_up, key):
    try:
        return look_up(key)
    except KeyError:
        return None
