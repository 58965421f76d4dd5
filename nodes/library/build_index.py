"""Build Index: make, replace or remove an index of a library's vectors."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from ..host import fresh_fingerprint, names_missing_requirements, open_library, progress_on, show_text
from ..types import CATEGORY, Library, library_input, library_name_input
from ..wording import some

HYBRID = "several kinds at once"
WHATS = {HYBRID: None, "prompt and negative": "text", "image": "image", "clip_l": "clip_l", "clip_g": "clip_g"}  # family
METHODS = ("hnsw", "ivfflat", "binary", "none")


class BuildIndex(io.ComfyNode):
    """Runs each time it is queued, since it does what it says even if the index is there."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitBuildIndex",
            display_name="Build Index",
            category=CATEGORY,
            description="Makes an index that searches use, anew or by another method, or removes it. Index Folder looks after "
            "indexes by itself; this is for choosing them yourself.",
            search_aliases=["hnsw", "ivfflat", "rebuild index", "faster search", "hybrid index", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                library_name_input(),
                io.Combo.Input(
                    "what",
                    options=list(WHATS),
                    default=HYBRID,
                    tooltip=f"Which vectors. '{HYBRID}': one index for Search with several queries, whatever their weights.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="hnsw",
                    tooltip="hnsw: fast and sure. ivfflat: smaller and soon made, finds somewhat less; for a library that is filled. "
                    "binary: a sixteenth of the size, for libraries larger than memory. none: remove it; every image is compared. "
                    f"For '{HYBRID}' there is one sort: hnsw, ivfflat and binary all make that.",
                ),
                io.String.Input(
                    "kinds",
                    default="",
                    optional=True,
                    tooltip=f"For '{HYBRID}': the kinds that are mixed, such as prompt, image, clip_g. Empty: all that the library has.",
                ),
                io.Int.Input(
                    "m",
                    default=0,
                    optional=True,
                    min=0,
                    max=100,
                    tooltip="hnsw and binary: neighbours of a vector in the graph. More finds more, takes more room and time. 0: the usual.",
                ),
                io.Int.Input(
                    "ef_construction",
                    default=0,
                    optional=True,
                    min=0,
                    max=1000,
                    tooltip="hnsw and binary: how many candidates are looked at for each neighbour, at least 2 m. 0: the usual.",
                ),
                library_input(),
            ],
            outputs=[
                Library.Output("library", tooltip="The library, for nodes that shall run after this one."),
                io.String.Output("report", tooltip="What was made, how long it took and what it finds."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return fresh_fingerprint()

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        library_name: str,
        what: str,
        method: str,
        kinds: str = "",
        m: int = 0,
        ef_construction: int = 0,
        library: str | None = None,
    ) -> io.NodeOutput:
        import time

        opened = open_library(library_name, library)
        show_text(cls, "Building the index")
        started = time.monotonic()
        settings = {name: value for name, value in (("m", m), ("ef_construction", ef_construction)) if value}
        if what == HYBRID:
            said = _hybrid(opened, method, kinds, progress_on(cls))
        else:
            said = _of_one_kind(opened, what, method, settings, progress_on(cls))
        report = f"{said}{_unheard(what, method, kinds, settings)} ({time.monotonic() - started:.1f} s)"
        return io.NodeOutput(opened.name, report, ui={"text": [report]})


def _hybrid(library, method: str, kinds: str, progress) -> str:
    from ... import db

    if method == "none":
        db.drop_hybrid(library)
        return "There is no index over several kinds now, and Index Folder makes none until Build Index does."
    chosen = [kind for kind in kinds.replace(",", " ").split() if kind]
    unknown = [kind for kind in chosen if kind not in db.KINDS]
    if unknown:
        raise ValueError(f"There is no kind {unknown[0]!r}. The kinds are: {', '.join(db.KINDS)}.")
    if len(set(chosen)) == 1:
        raise ValueError(
            f"kinds names {chosen[0]} alone, and what is '{HYBRID}': that index is over two kinds or more. Write another kind beside it into kinds, or "
            "choose its own index in what."
        )
    made = db.build_hybrid(library, chosen or None, progress)
    few, many = min(made["candidates"].values()), max(made["candidates"].values())
    said = (
        f"Index over {', '.join(made['kinds'])} of {some(made['images'], 'image')}: {sum(made['kept'])} of {sum(made['sizes'])} dimensions are "
        f"kept; {made['recall']:.1%} of the best images are found when {few:,} are compared exactly"
        f"{f', or up to {many:,} where one kind decides' if many > few else ''}."
    )
    if made["recall"] < db.LEAST_RECALL:
        return f"{said} Searches of the sort of which that is too few compare with every image instead."
    return said + _unused(library, [db.FAMILIES[kind] for kind in made["kinds"]], len(made["kinds"]))


def _of_one_kind(library, what: str, method: str, settings: dict[str, int], progress) -> str:
    from ... import db

    with library.connection() as connection:
        encoder = db.active_encoder(connection, WHATS[what])
    if encoder is None:
        raise db.LibraryError(f"The library has no vectors of {what} yet. Index a folder with their model first.")
    efforts = db.set_index(library, encoder.id, method, progress=progress, **settings)
    if method == "none":
        return f"No index over {what} now: every search compares with all. Index Folder makes none by itself, Build Index does."
    found = _found_with(efforts) if efforts else ""
    return f"Index over {what} by {encoder.name}: {method}.{found}{_unused(library, [WHATS[what]])}"


def _unused(library, families: list[str], kinds: int = 1) -> str:
    """Of an index that searches do without as yet."""
    from ... import db

    with library.connection() as connection:
        least = db.unused_below(connection, families, kinds)
    of = "images" if kinds > 1 else "vectors"
    return f" Searches don't use it yet: with fewer than some {least:,} {of} they compare with each, and miss none." if least else ""


def _unheard(what: str, method: str, kinds: str, settings: dict[str, int]) -> str:
    """Of inputs that have no meaning beside the others."""
    hybrid = what == HYBRID
    names = ["kinds"] if kinds.strip() and (not hybrid or method == "none") else []
    names += [f"method {method}"] if hybrid and method in ("ivfflat", "binary") else []
    names += list(settings) if hybrid or method not in ("hnsw", "binary") else []
    return f" Not used here: {', '.join(names)}." if names else ""


def _found_with(efforts: dict[str, int | None]) -> str:
    """What a trial of the index found, by the shape of a question."""
    from ... import db

    told = [f"{words}: {efforts[shape] or 'none will do, so all are compared'}" for shape, words in db.SHAPES.items()]
    return f" Candidates that it takes to find the best images, as tried on this library: {'; '.join(told)}."
