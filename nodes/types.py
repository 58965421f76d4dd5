"""The link types and inputs that our nodes share, so that they are worded once."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from .host import library_names

CATEGORY = "DiffusionToolkit"
QUERY_CATEGORY = f"{CATEGORY}/query"
CONDITIONING_CATEGORY = f"{CATEGORY}/conditioning"

Library = io.Custom("DIFFUSION_TOOLKIT_LIBRARY")  # a library's name
TextEmbedder = io.Custom("DIFFUSION_TOOLKIT_TEXT_EMBEDDER")  # embedders.models.text_embedder.TextEmbedder
# embedders.models.description.DescriptionEncoder: `picture_tower` is in the details of the image encoder that is its other half.
DescriptionEncoder = io.Custom("DIFFUSION_TOOLKIT_DESCRIPTION_ENCODER")
Query = io.Custom("DIFFUSION_TOOLKIT_QUERY")  # links.Query
Filter = io.Custom("DIFFUSION_TOOLKIT_FILTER")  # db.Filter
SearchOptions = io.Custom("DIFFUSION_TOOLKIT_SEARCH_OPTIONS")  # links.SearchOptions
Hits = io.Custom("DIFFUSION_TOOLKIT_HITS")  # links.Hits


def library_name_input() -> io.Input:
    """The combo that chooses a library by name. Connection strings never stand in a widget: prompts are saved in images."""
    return io.Combo.Input(
        "library_name",
        options=library_names(),
        default="default",
        tooltip="The library to use. 'default' is the PostgreSQL named by the environment variable "
        "DIFFUSION_TOOLKIT_DSN when that is set, else one that this package runs in ComfyUI's user directory. Others are "
        "named in the user directory's diffusion_toolkit/config.json.",
    )


def library_input() -> io.Input:
    """The optional link that makes a node run after Index Folder, on the same library."""
    return Library.Input(
        "library",
        optional=True,
        tooltip="Connect Index Folder's library to run after it in the same graph. It replaces library_name.",
    )


def filter_inputs(what: str = "images", also: str = "") -> list[io.Input]:
    """Which images a node looks at. `also` is one more sentence of the first tooltip."""
    return [
        io.String.Input(
            "filter_text",
            default="",
            optional=True,
            tooltip=f"Only {what} that pass, such as: folder:2025 rating:>=3 -label:draft. Empty: all. {also}See Filter Images.",
        ),
        Filter.Input("filter", optional=True, tooltip=f"From Filter Images: only {what} that pass it, and filter_text too."),
    ]


def encoder_inputs() -> list[io.Input]:
    """Which library, and by which encoder its texts are recalled, in the order of the nodes that mix what they recall."""
    return [
        library_name_input(),
        library_input(),
        io.Clip.Input(
            "clip",
            optional=True,
            tooltip="Optional. Chooses the encoder, as in the Loader: what the library stored of this very CLIP, else the texts are "
            "encoded with it. Without it: the encoder that was last indexed with.",
        ),
    ]


def query_output() -> io.Output:
    """What every query node gives."""
    return Query.Output("query", tooltip="For Search, or for Query Arithmetic.")
