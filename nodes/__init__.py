"""The ComfyUI surface of the Diffusion Toolkit: its nodes, and nothing that connects or loads at import."""

from __future__ import annotations

from comfy_api.v0_0_2 import ComfyExtension, io

from .index_folder import IndexFolder
from .load_description_encoder import LoadDescriptionEncoder
from .load_text_embedder import LoadTextEmbedder
from .loader import Loader
from .queued_prompts import forget_saved_fingerprints
from .read_image_prompt import ReadImagePrompt
from .search_by_image import SearchByImage
from .search_by_prompt import SearchByPrompt


class DiffusionToolkitExtension(ComfyExtension):
    """What ComfyUI asks of a node package."""

    async def on_load(self) -> None:
        forget_saved_fingerprints()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [IndexFolder, SearchByPrompt, SearchByImage, Loader, LoadTextEmbedder, LoadDescriptionEncoder, ReadImagePrompt]
