"""A file appears whole or not at all: it is written beside its name, and takes it when it is complete and on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .records import ExchangeError

UNFINISHED = ".part"


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """An open file that becomes `path` at the end of the block; removed when the block fails or is cancelled.

    Raises:
        ExchangeError: there is such a file, somebody else writes it now, or the disk will not take it.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        if path.exists():
            raise FileExistsError(path)
        file = unfinished.open("xb")
    except FileExistsError as error:
        if path.exists():
            raise ExchangeError(f"{path} is there already. Choose another name.") from error
        told = f"{path} is being written, or its writer was killed and left {unfinished.name} behind"
        raise ExchangeError(f"{told}. Remove that file if nobody writes it any more, or choose another name.") from error
    except OSError as error:
        raise ExchangeError(f"{path} can't be written: {error.strerror or error}. Choose another name or folder.") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ExchangeError(f"{path} can't be written: {error.strerror or error}. Nothing of it is left.") from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
