"""Read Image Prompt: what one image file says of its making, without a library."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..settings import DEFAULT_CFG, DEFAULT_DENOISE, DEFAULT_GUIDANCE, DEFAULT_SAMPLER, DEFAULT_SCHEDULER, DEFAULT_SEED, DEFAULT_STEPS
from ..types import CATEGORY

LINKED = "linked"  # the fingerprint of a path or picture that another node gives: that node's own tells when it changes


class ReadImagePrompt(io.ComfyNode):
    """Reads the file, not the tensor: a tensor carries no prompt. So a linked image is only asked where it came from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitReadImagePrompt",
            display_name="Read Image Prompt",
            category=CATEGORY,
            description="Reads the prompt, the negative prompt and every setting out of an image or video file, of ComfyUI "
            "or of another generator, and says how sure it is. It needs no library.",
            search_aliases=["png info", "load prompt from image", "read metadata", "extract workflow", "image settings", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.dynprompt],
            inputs=[
                io.String.Input(
                    "path",
                    default="",
                    optional=True,
                    tooltip="The file: a whole path, one below a root (2025/fox.png), one with its root (output/fox.png), or "
                    "fox.png [output]. Only ComfyUI's output and input and the administrator's roots are read. A search "
                    "node's path can be connected. Leave it empty to read the file behind the image input.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    lazy=True,  # the file is read, so nobody need decode it for us
                    raw_link=True,
                    tooltip="Connect Load Image, or a node after it: the file that it names is read. The picture itself is "
                    "not needed. With a path this input is left aside.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, path: str | None = None, image: Any = None) -> str:
        if path is None or not path.strip():
            return LINKED
        from ..files import find_file, state_of

        return state_of(find_file(path))  # where this raises, ComfyUI runs the node, which tells

    @classmethod
    @names_missing_requirements
    def execute(cls, path: str = "", image: Any = None) -> io.NodeOutput:
        from ...embedders.folders.scan import SUFFIXES
        from ..definitions import node_definitions
        from ..files import FileRefused, find_file, linked_file
        from .image_reading import read

        notes = []
        if path.strip():
            file = find_file(path)
        elif image is not None:
            linked = linked_file(cls.hidden.dynprompt, image, SUFFIXES)
            if linked is None:
                raise FileRefused(
                    "No node before this one names an image file in the input or output folder, so there is nothing to read: "
                    "a picture made in this graph has no file yet. Write the file's path into 'path'."
                )
            file = linked.file
            if linked.passed:
                notes.append(
                    f"the picture goes through {', '.join(reversed(linked.passed))} on its way here and may be changed; "
                    "this is what its file says"
                )
            if linked.others:
                notes.append(f"this is the first of the files that meet here; the others: {', '.join(map(str, linked.others))}")
        else:
            raise FileRefused("Connect Load Image to 'image', or write the file's path into 'path'.")
        return read(file, node_definitions(), notes)


def _outputs() -> list[io.Output]:
    """Saved workflows know outputs by their place: append only."""
    unless = "where the file does not tell"
    return [
        io.String.Output("prompt", tooltip="The prompt; empty where none is known. Of a prompt made when the graph ran, the part that is known."),
        io.String.Output("negative_prompt", tooltip="The negative prompt; empty where none is known."),
        io.String.Output(
            "confidence",
            tooltip="Of the prompt. exact: the file states it. inferred: found by a rule that may be wrong. unknown: made "
            "when the graph ran, and not kept. none: the file has no prompt.",
        ),
        io.Int.Output("seed", tooltip=f"The seed; {DEFAULT_SEED} {unless}."),
        io.Int.Output("steps", tooltip=f"The steps; {DEFAULT_STEPS} {unless}."),
        io.Float.Output("cfg", tooltip=f"The classifier-free guidance scale; {DEFAULT_CFG} {unless}."),
        io.Float.Output("guidance", tooltip=f"The distilled guidance, for FluxGuidance; {DEFAULT_GUIDANCE} {unless}."),
        io.AnyType.Output("sampler", tooltip=f"The sampler, for KSampler; {DEFAULT_SAMPLER} {unless}, or names one that is not known here."),
        io.AnyType.Output("scheduler", tooltip=f"The scheduler, for KSampler; {DEFAULT_SCHEDULER} {unless}, or names one that is not known here."),
        io.Float.Output("denoise", tooltip=f"The denoise; {DEFAULT_DENOISE} {unless}."),
        io.AnyType.Output("checkpoint", tooltip=f"The model, for Load Checkpoint; the first one of this ComfyUI {unless}."),
        io.AnyType.Output("diffusion_model", tooltip=f"The same model, for Load Diffusion Model; the first one of this ComfyUI {unless}."),
        io.AnyType.Output("vae", tooltip="The VAE, for Load VAE; empty where the model's own was used, or the file does not tell."),
        io.String.Output("loras", tooltip="The LoRAs, as JSON: name, as the combos here have it, strength_model and strength_clip."),
        io.Int.Output("width", tooltip=f"The width that was asked of the sampler; the picture's own {unless}."),
        io.Int.Output("height", tooltip=f"The height that was asked of the sampler; the picture's own {unless}."),
        io.String.Output("settings_json", tooltip="All that was found, with the confidence and source of each, as JSON."),
        io.String.Output("raw_json", tooltip="The metadata as the file has it, by key, as JSON: a graph, a workflow, parameters."),
    ]
