"""Load Description Encoder: CLIP-ViT-H/14's text tower, which finds pictures by what they show."""

from __future__ import annotations

from pathlib import Path

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..types import CATEGORY, DescriptionEncoder

FOLDER = "clip_vision"


def file_names() -> list[str]:
    """The safetensors files of models/clip_vision; the one of the help page first, whether it is there or not."""
    import folder_paths

    from ...embedders.models.description import USUAL

    found = [name for name in folder_paths.get_filename_list(FOLDER) if name.endswith(".safetensors")]
    return [USUAL, *(name for name in found if name != USUAL)]


class LoadDescriptionEncoder(io.ComfyNode):
    """Hands the text tower to Query by Description; nothing else needs it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLoadDescriptionEncoder",
            display_name="Load Description Encoder",
            category=CATEGORY,
            description="Loads the text half of CLIP-ViT-H/14, which finds pictures by what they show, in your words, "
            "whatever their prompts were. Connect it to Query by Description.",
            search_aliases=["clip text", "text to image search", "open_clip", "describe", "diffusion toolkit"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=file_names(),
                    tooltip="A file of models/clip_vision that holds both halves of CLIP-ViT-H/14: open_clip_model.safetensors of "
                    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K, 3.9 GB. Its picture half must be the one that Index Folder used; the "
                    "same file serves Load CLIP Vision too.",
                )
            ],
            outputs=[DescriptionEncoder.Output("description_encoder", tooltip="The description encoder, for Query by Description.")],
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, file: str) -> io.NodeOutput:
        from ...embedders.models.description import load_description_encoder

        return io.NodeOutput(load_description_encoder(description_file(file)))


def description_file(name: str) -> Path:
    """Where the file lies, or would lie."""
    import folder_paths

    found = folder_paths.get_full_path(FOLDER, name)
    return Path(found or Path(folder_paths.models_dir) / FOLDER / name)
