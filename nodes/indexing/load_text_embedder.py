"""Load Text Embedder: BGE, or another sentence-transformers model of 1024 dimensions."""

from __future__ import annotations

from pathlib import Path

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..types import CATEGORY, TextEmbedder

FOLDER = "sentence_transformers"
BGE = "bge-large-en-v1.5"


def model_names() -> list[str]:
    """Folders that hold a sentence-transformers model, below every `models/sentence_transformers`; BGE always first."""
    return [BGE, *sorted({folder.name for folder in text_embedders()} - {BGE})]


def text_embedders() -> list[Path]:
    """The folders of the models that are there."""
    return [marker.parent for root in text_embedder_folders() for marker in sorted(root.glob("*/modules.json"))]


def text_embedder_folders() -> list[Path]:
    import folder_paths

    default = Path(folder_paths.models_dir) / FOLDER
    extra = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))[0]
    return [default, *(Path(path) for path in extra if Path(path) != default)]


class LoadTextEmbedder(io.ComfyNode):
    """Hands a text embedder to Index Folder and Search by Prompt, which must use the same one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLoadTextEmbedder",
            display_name="Load Text Embedder",
            category=CATEGORY,
            description="Loads the sentence encoder that gives prompts their meaning: BGE-large-en-v1.5 from "
            "models/sentence_transformers. Connect it to Index Folder and to Search by Prompt.",
            search_aliases=["bge", "sentence transformers", "prompt embedding", "text embedding", "diffusion toolkit"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_names(),
                    default=BGE,
                    tooltip="A folder under models/sentence_transformers that holds a sentence-transformers model "
                    "with 1024 dimensions.",
                ),
                io.String.Input(
                    "download_from",
                    default="",
                    advanced=True,
                    tooltip="Empty: nothing is ever downloaded. A Hugging Face name, such as BAAI/bge-large-en-v1.5, "
                    "is downloaded once (1.3 GB) into Hugging Face's cache and used instead of the folder.",
                ),
            ],
            outputs=[TextEmbedder.Output("text_embedder", tooltip="The text embedder, for Index Folder and Search by Prompt.")],
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, model_name: str, download_from: str) -> io.NodeOutput:
        from ...embedders.models.text_embedder import load_text_embedder

        if download_from.strip():
            return io.NodeOutput(load_text_embedder(download_from.strip(), allow_download=True))
        roots = text_embedder_folders()
        folder = next((root / model_name for root in roots if (root / model_name).is_dir()), roots[0] / model_name)
        return io.NodeOutput(load_text_embedder(str(folder), allow_download=False))
