"""Run as a script by root: become another user, keep only the right to pass closed folders, and run a program.

    python _drop_root.py UID GID PROGRAM ARGUMENT...

PostgreSQL refuses to run as root, but the data directory and the programs may lie below a folder that only root may
enter (/root). Instead of opening such folders for everyone, the program keeps root's right to pass them: on Linux the
capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH survive the change of user and the exec when they are *ambient*
(man 7 capabilities). Docker's default capabilities suffice. Where they cannot be kept, the program runs without them.
"""

from __future__ import annotations

import ctypes
import os
import sys

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # numbers below: linux/capability.h, linux/prctl.h, linux/securebits.h
CAPABILITY_VERSION_3 = 0x20080522
PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 28, 47, 2
SECBIT_NO_SETUID_FIXUP = 1 << 2


class Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def become(uid: int, gid: int) -> None:
    """Change to the user for good, without other groups; OSError where the system forbids it."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def become_with_passage(uid: int, gid: int) -> None:
    """`become`, and keep what is held of the two capabilities through the change and through exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    prctl = libc.prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    header, data = Header(CAPABILITY_VERSION_3, 0), (Data * 2)()
    libc.capget(ctypes.byref(header), data)
    keep = data[0].permitted & (1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    # NO_SETUID_FIXUP also makes access(2), by which initdb judges programs, count the capabilities. It needs
    # CAP_SETPCAP; without that, KEEPCAPS at least keeps them for opening files.
    if prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0):
        prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    become(uid, gid)
    for half, bits in ((0, keep), (1, 0)):
        data[half].effective = data[half].permitted = data[half].inheritable = bits
    if libc.capset(ctypes.byref(header), data):
        raise OSError(ctypes.get_errno(), "capset refused to drop root's capabilities")
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        if keep & 1 << capability:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


if __name__ == "__main__":
    user, group = int(sys.argv[1]), int(sys.argv[2])
    try:
        become_with_passage(user, group) if sys.platform == "linux" else become(user, group)
        os.execv(sys.argv[3], sys.argv[3:])
    except OSError as failure:
        sys.exit(f"cannot run {sys.argv[3]} as user {user} instead of root: {failure}")
