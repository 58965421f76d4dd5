"""Bring a folder into a library: files are read, embedded and written batch by batch, by stages that know the library as a `Store`.

`run` has the order: `files` (the scan against what is known) -> `prepared` (read, in batches) -> `images` (embedded, at the models'
thread) -> `writer`; then `images` again for vectors that are missing, `anew`, and `texts`. The library's own `Store` is
`nodes.indexing.index_store.FolderStore`.
"""

from __future__ import annotations

from .records import Encoders, IndexReport, Progress, StandBack, Store, Text
from .run import index_folder

__all__ = ["Encoders", "IndexReport", "Progress", "StandBack", "Store", "Text", "index_folder"]
