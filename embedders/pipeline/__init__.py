"""Bring a folder into a library: files are read, embedded and written batch by batch, by stages that know the library as a `Store`."""

from __future__ import annotations

from .records import Encoders, IndexReport, Progress, StandBack, Store, Text
from .run import index_folder

__all__ = ["Encoders", "IndexReport", "Progress", "StandBack", "Store", "Text", "index_folder"]
