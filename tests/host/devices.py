"""Windows' answer to where a folder leads whose name it keeps for a device, on systems where that is a name as any."""

from __future__ import annotations

import os
import re
from typing import Any

_realpath = os.path.realpath


def realpath_of_windows(path: Any, **more: Any) -> str:
    """As CPython's in Windows: what the system says of the device is none of the errors that it goes on after. `kept` stands for a device
    that every system lets a test make a folder of."""
    if re.search(r"[\\/](con|nul|aux|com1|kept)([\\/]|$)", os.path.abspath(path), re.IGNORECASE):
        raise OSError(9, "Invalid handle", os.fspath(path))
    return _realpath(path, **more)
