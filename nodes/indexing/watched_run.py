"""What watching is to one run of Index Folder: whether a watch has asked for it, and which watches it begins and ends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...embedders.folders.presence import Names
from .folders import subfolder_in
from .watch import LONG_QUIET_S, Place, Watch, clock, watcher
from .watched_prompts import CannotWatch, check_saved_in, part_leading_to, running_prompt

if TYPE_CHECKING:
    from ...embedders.pipeline import IndexReport, Progress


class WatchedRun:
    """One run of the node `node_id`, which is set to `place`; `over` its root it looks through a folder, and tells of it afterwards.

    `watch` as on the node; `listed`: its images come by name out of a list, which is not watched.
    """

    def __init__(self, place: Place, node_id: str, watch: bool, listed: bool) -> None:
        self.place, self.watch, self.listed = place, watch, listed
        self.prompt = running_prompt()
        self.asked_by = watcher().run_of(self.prompt.prompt_id) if self.prompt is not None else None
        self.node = (self.prompt.workflow if self.prompt is not None else "", node_id)
        self.watches = watch and not listed and self.prompt is not None

    @property
    def is_anothers(self) -> bool:
        """A list runs the node, and the watch that has asked is for another item of it."""
        return self.asked_by is not None and self.asked_by.place != self.place

    @property
    def refreshes(self) -> bool:
        """Whether it makes the indexes that searches use."""
        return self.asked_by is None or self.asked_by.refreshes

    def over(self, root: Path) -> RunOver:
        """Ends the watches that this run ends. Raises what `subfolder_in` does."""
        under = subfolder_in(self.place.root, self.place.subfolder) if self.asked_by is None else _new_below(self.asked_by, root)
        folder = Path(os.path.realpath(root / Names(root).spelled(under)))  # however it is typed
        ended: list[Path] = []
        if self.prompt is not None and (self.listed or not self.watch):
            ended = watcher().end(folder, self.place.library_name, self.node, self.prompt.prompt_id)
        return RunOver(self, root, under, folder, ended)

    def progress(self, on_node: Progress) -> Progress:
        """A watch's run makes room for other prompts, and is told to the pages that show its node."""
        watch = self.asked_by
        if watch is None:
            return on_node

        def progress(stage: str, done: int, total: int) -> None:
            watcher().make_room(watch)
            on_node(stage, done, total)
            watcher().tell(watch, f"Watching. {stage}: {done} of {total}")

        return progress


@dataclass(frozen=True)
class RunOver:
    """The same run over the folder `under` its root, which really is `folder`; it has `ended` the watches over these."""

    run: WatchedRun
    root: Path
    under: str
    folder: Path
    ended: list[Path]

    @property
    def may_be_missing(self) -> bool:
        """Whether the folder need not be there: a watch of it ends, or begins and ComfyUI may save into it."""
        looks_at_all = self.run.asked_by is None or not self.run.asked_by.looks_in
        return bool(self.ended) or (self.run.watches and looks_at_all and self._is_saved_in())

    def told(self, report: IndexReport, text: str, recursive: bool, pattern: str, after: int) -> str:
        """The report's `text` with what there is to say of watching; begins the watch that this run begins."""
        run, place = self.run, self.run.place
        if run.asked_by is not None:
            watcher().ran(run.asked_by, report.unfinished, report.unrefreshed)
            text = _watched(report) + text
            watcher().tell(run.asked_by, text)
        elif run.watches:
            yet = "" if (self.root / self.under).is_dir() else f"There is no folder {self.under!r} in {place.root} yet.\n"
            text = f"{yet}{self._begin(recursive, pattern, after)}\n{text}"
        elif run.watch and run.listed:
            text = f"Not watched: a list names its images itself. Queue it again when the list has changed.\n{text}"
        text += "".join(f"\nNo longer watched: {was}." for was in self.ended)
        if not run.watch and not run.listed:
            text += "".join(_still_watched(one, self.folder) for one in watcher().over(self.folder, place.library_name))
        return text

    def _is_saved_in(self) -> bool:
        """Whether ComfyUI may save into the folder, which need not be there yet."""
        try:
            check_saved_in(self.root, self.folder)
        except CannotWatch:
            return False
        return True

    def _begin(self, recursive: bool, pattern: str, after: int) -> str:
        """Watch from now on; the first line of the report."""
        run = self.run
        try:
            check_saved_in(self.root, self.folder)
            part = part_leading_to(run.prompt, run.node[1])
        except CannotWatch as reason:
            return f"Not watched: {reason}"
        watcher().start(Watch(run.place, self.root, self.folder, recursive, pattern, float(after), run.node, run.prompt.prompt_id, part))
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
