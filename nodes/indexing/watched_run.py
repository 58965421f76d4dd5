"""What watching is to one run of Index Folder: whether a watch has asked for it, and which watches it begins and ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...embedders.folders.presence import Names
from .folders import subfolder_in
from .watch import LONG_QUIET_S, Place, Watch, clock, watcher
from .watched_prompts import CannotWatch, check_saved_in, part_leading_to, running_prompt

if TYPE_CHECKING:
    from ...embedders.pipeline import IndexReport, Progress


class WatchedRun:
    """One run of the node `node_id`, which is set to `place`. Call `look_in` before it indexes, and `told` after it.

    `watch` as on the node; `listed`: its images come by name out of a list, which is not watched.
    """

    def __init__(self, place: Place, node_id: str, watch: bool, listed: bool) -> None:
        self._place, self._watch, self._listed = place, watch, listed
        self._prompt = running_prompt()
        self._asked_by = watcher().run_of(self._prompt.prompt_id) if self._prompt is not None else None
        self._node = (self._prompt.workflow if self._prompt is not None else "", node_id)
        self._watches = watch and not listed and self._prompt is not None
        self._ended: list[Path] = []

    @property
    def is_anothers(self) -> bool:
        """A list runs the node, and the watch that has asked is for another item of it."""
        return self._asked_by is not None and self._asked_by.place != self._place

    @property
    def refreshes(self) -> bool:
        """Whether it makes the indexes that searches use."""
        return self._asked_by is None or self._asked_by.refreshes

    def look_in(self, root: Path) -> tuple[str, bool]:
        """The folder below the root to look through, and whether it may not be there; ends the watches that this run ends.

        Raises what `subfolder_in` does.
        """
        self._root = root
        self._under = subfolder_in(self._place.root, self._place.subfolder) if self._asked_by is None else _new_below(self._asked_by, root)
        self._folder = Path(os.path.realpath(root / Names(root).spelled(self._under)))  # however it is typed
        if self._prompt is not None and (self._listed or not self._watch):
            self._ended = watcher().end(self._folder, self._place.library_name, self._node, self._prompt.prompt_id)
        looks_at_all = self._asked_by is None or not self._asked_by.looks_in
        return self._under, bool(self._ended) or (self._watches and looks_at_all and self._is_saved_in())

    def progress(self, on_node: Progress) -> Progress:
        """A watch's run makes room for other prompts, and is told to the pages that show its node."""
        watch = self._asked_by
        if watch is None:
            return on_node

        def progress(stage: str, done: int, total: int) -> None:
            watcher().make_room(watch)
            on_node(stage, done, total)
            watcher().tell(watch, f"Watching. {stage}: {done} of {total}")

        return progress

    def told(self, report: IndexReport, text: str, recursive: bool, pattern: str, after: int) -> str:
        """The report's `text` with what there is to say of watching; begins the watch that this run begins."""
        place = self._place
        if self._asked_by is not None:
            watcher().ran(self._asked_by, report.unfinished, report.unrefreshed)
            text = _watched(report) + text
            watcher().tell(self._asked_by, text)
        elif self._watches:
            text = ("" if (self._root / self._under).is_dir() else f"There is no folder {self._under!r} in {place.root} yet.\n") + text
            text += "\n" + self._begin(recursive, pattern, after)
        elif self._watch and self._listed:
            text += "\nNot watched: a list names its images itself. Queue it again when the list has changed."
        text += "".join(f"\nNo longer watched: {was}." for was in self._ended)
        if not self._watch and not self._listed:
            text += "".join(_still_watched(one, self._folder) for one in watcher().over(self._folder, place.library_name))
        return text

    def _is_saved_in(self) -> bool:
        """Whether ComfyUI may save into the folder, which need not be there yet."""
        try:
            check_saved_in(self._root, self._folder)
        except CannotWatch:
            return False
        return True

    def _begin(self, recursive: bool, pattern: str, after: int) -> str:
        """Watch from now on; a line for the report."""
        try:
            check_saved_in(self._root, self._folder)
            part = part_leading_to(self._prompt, self._node[1])
        except CannotWatch as reason:
            return f"Not watched: {reason}"
        watch = Watch(self._place, self._root, self._folder, recursive, pattern, float(after), self._node, self._prompt.prompt_id, part)
        watcher().start(watch)
        return (
            f"Watching: images that ComfyUI saves here are indexed when its queue has been empty for {after} s, "
            "until this is queued with watch off or ComfyUI ends."
        )


def _new_below(watch: Watch, root: Path) -> str:
    """Of a watch's folder, the part below the root that holds what is new, and is still there."""
    place = watch.look_in
    while not place.is_dir() and place != watch.folder:
        place = place.parent
    return "/".join(place.relative_to(root).parts)  # "" is the root


def _watched(report: IndexReport) -> str:
    """What a watch's run says before its report."""
    if report.unfinished:
        return f"Watching: made room for another prompt at {clock()}, and goes on when the queue is empty.\n"
    later = (
        "\nAll of it is indexed. The indexes that searches use take long to make, and are made when the queue has been empty for "
        f"{LONG_QUIET_S / 60:.0f} min."
    )
    return f"Watched at {clock()}, and on until this is queued with watch off or ComfyUI ends.{later if report.unrefreshed else ''}\n"


def _still_watched(watch: Watch, folder: Path) -> str:
    """What a run with watch off says of a watch that it does not end."""
    only = f" (only {watch.pattern.strip()})" if watch.pattern.strip() else ""
    part, that = (f", as a part of {watch.folder}", " over that folder") if watch.folder != folder else ("", "")
    return (
        f"\nStill watched{part}{only}: another Index Folder node has begun that, and ends it when it is queued with watch off. If you no "
        f"longer have that node, queue this one{that} with watch on, and then off."
    )
