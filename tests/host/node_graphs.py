"""API-format graphs of this package's nodes, with stand-ins in place of the model loaders."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]
Link = list

TEXT_EMBEDDER = "stand-in-minilm"  # the folder under models/sentence_transformers


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def models() -> Graph:
    """The stand-ins: `checkpoint` gives MODEL, CLIP, VAE in Load Checkpoint's order."""
    return {
        "checkpoint": node("StandInCheckpoint"),
        "vision": node("StandInCLIPVision"),
        "embedder": node("DiffusionToolkitLoadTextEmbedder", model_name=TEXT_EMBEDDER, download_from=""),
    }


CLIP: Link = ["checkpoint", 1]
CLIP_VISION: Link = ["vision", 0]
EMBEDDER: Link = ["embedder", 0]


def index(subfolder: str = "", **changes: Any) -> Graph:
    """Index Folder as node `index`, on the output folder, with every model connected; `None` leaves an input out."""
    inputs = dict(
        root="output", subfolder=subfolder, recursive=True, pattern="", library_name="default", token_state_budget=5.0,
        clip=CLIP, clip_vision=CLIP_VISION, text_embedder=EMBEDDER,
    )  # fmt: skip
    inputs.update(changes)
    return {**models(), "index": node("DiffusionToolkitIndexFolder", **_given(inputs))}


def search_by_prompt(query: str, **changes: Any) -> Graph:
    """Search by Prompt as node `search`."""
    inputs = dict(text_embedder=EMBEDDER, query=query, top_k=5, lowest_score=-1.0, library_name="default")
    inputs.update(changes)
    return {"embedder": models()["embedder"], "search": node("DiffusionToolkitSearchByPrompt", **_given(inputs))}


def search_by_image(image: str, **changes: Any) -> Graph:
    """Search by Image as node `search`, for a file of the input folder."""
    inputs = dict(clip_vision=CLIP_VISION, image=["picture", 0], top_k=5, lowest_score=-1.0, library_name="default")
    inputs.update(changes)
    return {
        "vision": models()["vision"],
        "picture": node("LoadImage", image=image),
        "search": node("DiffusionToolkitSearchByImage", **_given(inputs)),
    }


def query_by_prompt(text: str, compare_with: str = "prompt") -> dict[str, Any]:
    return node("DiffusionToolkitQueryByPrompt", text_embedder=EMBEDDER, text=text, compare_with=compare_with)


def query_by_image(picture: Link) -> dict[str, Any]:
    return node("DiffusionToolkitQueryByImage", clip_vision=CLIP_VISION, image=picture)


def query_by_stored(image_id: int | Link, by: str = "its picture", leave_out: bool = True) -> dict[str, Any]:
    return node("DiffusionToolkitQueryByStoredImage", image_id=image_id, by=by, leave_out=leave_out, library_name="default")


def query_by_style(text: str, vectors: str = "both") -> dict[str, Any]:
    return node("DiffusionToolkitQueryByStyle", clip=CLIP, text=text, vectors=vectors)


def search(*queries: tuple[float, dict[str, Any]], **changes: Any) -> Graph:
    """Search as node `search`, of (weight, query node) pairs, which become the nodes `query_1`, `query_2`, ..."""
    inputs: dict[str, Any] = dict(top_k=5, lowest_score=-10.0, library_name="default")
    graph = models()
    for number in range(1, 6):
        inputs[f"weight_{number}"] = 1.0
    for number, (weight, query) in enumerate(queries, start=1):
        graph[f"query_{number}"] = query
        inputs[f"query_{number}"], inputs[f"weight_{number}"] = [f"query_{number}", 0], weight
    inputs.update(changes)
    return {**graph, "search": node("DiffusionToolkitSearch", **_given(inputs))}


def _given(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if value is not None}
