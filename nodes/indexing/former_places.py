"""Where the images that a run finds again lay before, of which it may look through no folder: a renamed one, or another root's."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from ... import db
from ...embedders.folders.presence import Names, Nearest, is_gone
from ..host import roots
from ..inside import contained


class FormerPlaces:
    """For one run over one root: which other files of images at hand are gone. What is doubtful is not, as for `presence`.

    An image whose other files are all there is not asked about again: copies are not looked at for each further copy.
    """

    def __init__(self, library: db.Library, root_id: int) -> None:
        self._library, self._root_id = library, root_id
        self._elsewhere: set[int] = set()  # images
        self._judged: dict[int, bool] = {root_id: True}  # roots by id, and whether what is not there is gone

    def gone(self, image_ids: Collection[int], paths: Sequence[str]) -> list[db.OtherFile]:
        """The files of these images, other than those at `paths` in the run's root, that are not there any more."""
        if not (asked := set(image_ids) - self._elsewhere):
            return []
        with self._library.connection() as connection:
            others = db.other_files(connection, self._root_id, paths, asked)
        gone, looks = [], {}
        for file in others:
            if file.root not in looks:  # anew each time: a drive may go away while a run goes on
                looks[file.root] = Names(file.root), Nearest(file.root)
            names, nearest = looks[file.root]
            if is_gone(file.root, file.path, names) and nearest.mount_point(file.path) is None and self._judges(file):
                gone.append(file)
        self._elsewhere |= {file.image_id for file in others} - {file.image_id for file in gone}
        return gone

    def _judges(self, file: db.OtherFile) -> bool:
        """Whether the file's root is one that is configured here, and on a drive that is mounted: some file known in it is there."""
        if file.root_id not in self._judged:
            configured = contained(Path(file.root), roots().values())
            self._judged[file.root_id] = configured and self._has_known_file(file)
        return self._judged[file.root_id]

    def _has_known_file(self, file: db.OtherFile) -> bool:
        with self._library.connection() as connection:
            known = db.page_of_files(connection, file.root_id)
        return any(os.path.exists(os.path.join(file.root, one.path)) for one in known if not one.missing)
