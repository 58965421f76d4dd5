"""Cluster Library: a library in so many parts that look or are prompted alike, each with a picture and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, numbers_in_range, open_library, progress_on, show_text
from ..links import KINDS, ImageId, QueryPart
from ..links import Hits as HitsRecord
from ..links import Query as QueryRecord
from ..search.asking import all_of
from ..search.hits import search_fingerprint
from ..types import CATEGORY, Hits, Query
from ..wording import some
from .shown_images import library_inputs, load_pictures, none_passes, report_input, report_place, save_report

if TYPE_CHECKING:
    from ...db import Cluster, StoredEncoder

BY = {"look": "image", "prompt": "prompt", "style (CLIP-G)": "clip_g"}


class ClusterLibrary(io.ComfyNode):
    """Looks at the whole library, or at what a filter lets pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitClusterLibrary",
            display_name="Cluster Library",
            category=CATEGORY,
            description="Puts the images of a library into clusters that look or are prompted alike. Each has a picture that stands for "
            "it, words that name it, and a query that finds its images with Search.",
            search_aliases=["k-means", "group images", "overview", "topics", "map", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input("by", options=list(BY), default="look", tooltip="In what the images of a cluster are alike."),
                io.Int.Input("clusters", default=12, min=1, max=500, tooltip="How many; fewer when there are fewer different images."),
                report_input("reports/clusters"),
                *library_inputs(),
            ],
            outputs=[
                io.Image.Output("image", is_output_list=True, tooltip="The picture that stands for each cluster, the largest cluster first."),
                io.Int.Output("image_id", is_output_list=True, tooltip="The ids of these pictures."),
                io.String.Output("prompt", is_output_list=True, tooltip="Their prompts; empty where none is known."),
                io.String.Output("words", is_output_list=True, tooltip="Words that are frequent in the cluster's prompts and rarer elsewhere."),
                io.Int.Output("size", is_output_list=True, tooltip="How many images the cluster has."),
                Query.Output("query", is_output_list=True, tooltip="The cluster's centre, for Search: finds its images, the most typical first."),
                Hits.Output("hits", tooltip="The pictures that stand for the clusters, as one object."),
                io.String.Output("report", tooltip="The clusters in words."),
                io.String.Output("report_file", tooltip="Where the report was written, with every image of each cluster; empty where it was not."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return search_fingerprint(**inputs)

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(
        cls,
        by: str,
        clusters: int,
        save_report_as: str,
        library_name: str,
        library: str | None = None,
        filter_text: str = "",
        filter=None,
    ) -> io.NodeOutput:
        from ... import db

        report_place(save_report_as)
        opened, kind = open_library(library_name, library), BY[by]
        with opened.connection() as connection:
            encoder, chosen = db.active_encoder(connection, db.FAMILIES[kind]), all_of(filter, filter_text)
            if why := none_passes(connection, chosen):
                raise ValueError(why)
            found = db.cluster_images(connection, kind, clusters, chosen, progress=progress_on(cls))
            note = db.unknown_names(connection, chosen)
        show_text(cls, f"Done: {len(found)} clusters")
        ids = [one.representative for one in found]
        pictures = load_pictures(opened, ids, "clusters", len(ids))
        text = report_text(found, pictures.lines, by, note)
        written = save_report(save_report_as, {"library": opened.name, "by": by, "clusters": [as_json(one) for one in found]})
        text += f"\nEvery image of each: {written}" if written else ""
        hits = tuple(db.Hit(id_, float(one.cosines[0]), rank) for rank, (id_, one) in enumerate(zip(ids, found), start=1))
        return io.NodeOutput(
            pictures.tensors,
            [ImageId(id_, opened.name) for id_ in ids],
            pictures.prompts,
            [", ".join(one.words) for one in found],
            [len(one.members) for one in found],
            [query_of(one, number, kind, encoder) for number, one in enumerate(found, start=1)],
            HitsRecord(opened.name, hits, method=f"the nearest to the centre of each cluster by {by}"),
            text,
            written,
            ui={"images": pictures.shown, "text": [text]},
        )


def query_of(cluster: Cluster, number: int, kind: str, encoder: StoredEncoder) -> QueryRecord:
    """To be like the cluster's centre."""
    label = f"cluster {number}" + (f" ({', '.join(cluster.words[:3])})" if cluster.words else "")
    return QueryRecord((QueryPart(kind, cluster.centre, encoder.fingerprint, encoder.name, label=label),))


def report_text(clusters: Sequence[Cluster], lines: Sequence[str], by: str, note: str = "") -> str:
    """One cluster a line, and below it the image that stands for it."""
    total = sum(len(one.members) for one in clusters)
    kind = KINDS[BY[by]]
    told = [f"{some(total, 'image')} in {some(len(clusters), 'cluster')} by {by} ({kind} vectors), the largest first.", *filter(None, [note])]
    for number, (one, line) in enumerate(zip(clusters, lines), start=1):
        words = ", ".join(one.words) or "no words that tell it apart"
        told.append(f"{number}. {some(len(one.members), 'image')}: {words}  (similarity to the centre {one.cosine:.2f} on average)")
        told.append(f"    {line}")
    return "\n".join(told)


def as_json(cluster: Cluster) -> dict[str, Any]:
    """A cluster for programs, its images with the most typical first."""
    return {
        "representative": cluster.representative,
        "words": list(cluster.words),
        "size": len(cluster.members),
        "similarity": round(cluster.cosine, 4),
        "image_ids": cluster.members.tolist(),
    }
