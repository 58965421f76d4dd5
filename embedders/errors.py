"""The one error that leaves `embedders/` for a person to read: what is wrong with a model, and what to do."""


class EmbedderError(RuntimeError):
    """A connected model can't make the library's vectors, or a model is missing; the message says which one serves."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path
