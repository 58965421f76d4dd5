"""Stored Image Vector: the library's CLIP-ViT-H vectors of pictures, for unCLIP models and IPAdapters, with no CLIP vision in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..chosen_images import chosen_ids, chosen_inputs, counted_once, open_chosen, read_weights
from ..host import names_missing_requirements
from ..library_state import chosen_state
from ..types import CONDITIONING_CATEGORY, library_input, library_name_input
from ..wording import first_of

if TYPE_CHECKING:
    import numpy as np

    from ...db import Connection, StoredEncoder, StoredImage
    from ..links import Hits as HitsRecord

AVERAGE, AVERAGE_KEPT, EACH = "average", "average, length kept", "each by itself"  # as in embedders.conditioning.image_vectors: node files import no embedders when ComfyUI starts
REAL_ENCODER = "CLIP-ViT-H/14"
_NAMED = 8  # images in a message

IPAdapter = io.Custom("IPADAPTER")  # ComfyUI_IPAdapter_plus's
Embeds = io.Custom("EMBEDS")


class StoredImageVector(io.ComfyNode):
    """One result of all chosen images: an average, or a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitStoredImageVector",
            display_name="Stored Image Vector",
            category=CONDITIONING_CATEGORY,
            description="Gives the stored CLIP-ViT-H vector of one image, or of a search's hits together, as CLIP_VISION_OUTPUT for "
            "unCLIPConditioning, and as the embeds that IPAdapter Embeds takes for non-plus ViT-H models. No picture is read, and no CLIP vision "
            "is loaded.",
            search_aliases=["clip vision output", "unclip", "ipadapter embeds", "image embeds", "style reference", "diffusion toolkit"],
            has_intermediate_output=True,
            inputs=[
                *chosen_inputs(),
                io.Combo.Input(
                    "several",
                    options=[AVERAGE, AVERAGE_KEPT, EACH],
                    default=AVERAGE,
                    tooltip="What several images give: their weighted average, as IPAdapter's own; the same brought to the average length of the "
                    "vectors, which an average of unlike pictures falls short of; or one vector for each, which IPAdapter lays side by side.",
                ),
                io.String.Input(
                    "weights",
                    default="",
                    tooltip="A number for each image, hits first, such as: 1, 0.5. A negative one takes that look away. Empty: all alike.",
                ),
                library_name_input(),
                library_input(),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Optional. Chooses the encoder: only vectors that this very CLIP vision made are given. It is compared, and not run.",
                ),
                io.Model.Input(
                    "unclip_model",
                    optional=True,
                    tooltip="Optional, for checking: the unCLIP model that will be conditioned. A model that reads other vectors is named here, "
                    "instead of failing in the sampler.",
                ),
                IPAdapter.Input(
                    "ipadapter",
                    optional=True,
                    tooltip="Optional, for checking: the IPAdapter that the embeds are for. A plus or FaceID model, or one for another encoder, "
                    "is named here.",
                ),
            ],
            outputs=[
                io.ClipVisionOutput.Output("clip_vision_output", tooltip="For unCLIPConditioning. It has image_embeds alone: no hidden states."),
                Embeds.Output("embeds", tooltip="For pos_embed of IPAdapter Embeds (or neg_embed, to move away from a look)."),
                Embeds.Output(
                    "no_embeds", tooltip="Zeros, which IPAdapter itself uses as the negative: for neg_embed, so that no CLIP vision need be connected."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return chosen_state(**inputs)

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        several: str,
        weights: str,
        library_name: str,
        hits: HitsRecord | None = None,
        image_ids: str = "",
        library: str | None = None,
        clip_vision=None,
        unclip_model=None,
        ipadapter=None,
    ) -> io.NodeOutput:
        import torch

        from ... import db
        from ...embedders.conditioning.image_vectors import StoredVision, check_ipadapter, check_unclip_model, combine

        ids = chosen_ids(hits, image_ids)
        numbers = read_weights(weights, len(ids), once := counted_once(hits, image_ids))
        with open_chosen([hits], image_ids, library_name, library).connection() as connection:
            images = db.get_images(connection, ids)
            encoder = image_encoder(connection, clip_vision)
            vectors = image_vectors(connection, images, encoder)  # [n, 1024]
        checked = [check_unclip_model(unclip_model, encoder.dims)] if unclip_model is not None else []
        checked += [check_ipadapter(ipadapter, encoder.dims)] if ipadapter is not None else []
        made = torch.from_numpy(combine(vectors, several, numbers))  # [1 or n, 1024] float32, as CLIP Vision Encode gives it
        said = _said(ids, numbers, several, encoder, made) + once + [f"Fits {found}" for found in checked]
        return io.NodeOutput(StoredVision(made), made, torch.zeros_like(made), ui={"text": ["\n".join(said)]})


def image_encoder(connection: Connection, clip_vision: object | None = None) -> StoredEncoder:
    """The encoder whose vectors are given: the connected one's own, else the active one. LibraryError where the library has none by it."""
    from ... import db

    if clip_vision is not None:
        from ...embedders.models.clip_vision import ImageEncoder

        connected = ImageEncoder(clip_vision)
        return db.require_encoder(connection, "image", connected.fingerprint, connected.name)
    encoder = db.active_encoder(connection, "image")
    if encoder is None:
        raise db.LibraryError("The library has no image vectors yet. Index a folder with Load CLIP Vision connected to Index Folder.")
    return encoder


def image_vectors(connection: Connection, images: Sequence[StoredImage], encoder: StoredEncoder) -> np.ndarray:
    """[n, dims] float32, norms as they were; LibraryError names the images that have none by this encoder."""
    import numpy as np

    from ... import db

    ids = [image.id for image in images]
    found = [stored.vectors.get("image") for stored in db.stored_vectors(connection, ids, {"image": encoder})]
    lacking = [f"#{image.id}" for image, vector in zip(images, found) if vector is None]
    if lacking:
        raise db.LibraryError(
            f"{'Image' if len(lacking) == 1 else 'Images'} {first_of(lacking, _NAMED)}: no image vector by {encoder.name}. Run Index "
            "Folder on the folder with that CLIP vision connected, or leave them out."
        )
    return np.stack(found)


def _said(ids: list[int], weights: list[float], several: str, encoder: StoredEncoder, made) -> list[str]:
    images = [f"#{id_}" + (f" x {weight:g}" if weight != 1 else "") for id_, weight in zip(ids, weights)]
    one = len(ids) == 1
    length = made.norm(dim=1).mean().item()
    lines = [
        f"{'Image' if one else 'Images'} {first_of(images, _NAMED)}" + ("" if one else f": {several}"),
        f"{made.shape[0]} x {made.shape[1]} numbers, length {length:.2f}, by {encoder.name}",
    ]
    if encoder.name != REAL_ENCODER:
        lines.append(f"NOT BY {REAL_ENCODER}: models that were trained on that encoder's vectors can't read these.")
    return lines
