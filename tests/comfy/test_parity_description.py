"""The text half of CLIP-ViT-H/14 agrees with transformers' CLIP on the same weights, and knows its picture half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit.embedders.errors import EmbedderError
from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
from diffusion_toolkit.embedders.models.description import DescriptionEncoder, load_description_encoder, read_picture_tower
from host.comfy_models import assert_parity, clip_vision, comfyui, host_inference  # noqa: F401  (fixtures)
from host.stand_in_models import small_clip_vision, write_description_file

pytestmark = pytest.mark.usefixtures("comfyui", "host_inference")

TEXTS = ["a red fox asleep in snow", "", "Über 9000 & <b>50%</b> \U0001f98a!", "word " * 200]


@pytest.fixture(scope="module")
def files(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """One model of both halves, in both layouts; its picture half is that of `clip_vision`."""
    folder = tmp_path_factory.mktemp("description")
    return {
        layout: write_description_file(folder / f"{layout}.safetensors", 2, layout=layout) for layout in ("open_clip", "transformers")
    }


@pytest.fixture(scope="module")
def encoders(files: dict[str, Path]) -> dict[str, DescriptionEncoder]:
    return {layout: load_description_encoder(file) for layout, file in files.items()}


def transformers_vectors(file: Path, texts: list[str]) -> np.ndarray:
    """[n, 1024] of transformers' CLIPTextModelWithProjection at ViT-H's text sizes, pooled at the first end token."""
    import torch
    from open_clip.tokenizer import SimpleTokenizer
    from safetensors.torch import load_file
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    weights = {name: tensor for name, tensor in load_file(file).items() if name.startswith("text_")}
    layers = 1 + max(int(name.split(".")[3]) for name in weights if ".layers." in name)
    config = CLIPTextConfig(
        hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=layers, hidden_act="gelu",
        projection_dim=1024, bos_token_id=49406, eos_token_id=49407, pad_token_id=0,
    )  # fmt: skip
    with torch.inference_mode(False), torch.no_grad():
        model = CLIPTextModelWithProjection(config).eval()
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert not unexpected and all("position_ids" in name for name in missing)
        return model(SimpleTokenizer()(texts, context_length=77)).text_embeds.numpy()


@pytest.mark.parametrize("layout", ["open_clip", "transformers"])
def test_vectors_are_those_of_transformers_on_the_same_weights(
    layout: str, files: dict[str, Path], encoders: dict[str, DescriptionEncoder]
) -> None:
    ours = np.stack([encoders[layout].encode_query(text) for text in TEXTS])
    assert_parity(ours, transformers_vectors(files["transformers"], TEXTS))


def test_both_layouts_are_one_encoder(encoders: dict[str, DescriptionEncoder]) -> None:
    a, b = encoders.values()
    assert a.picture_tower == b.picture_tower


def test_the_picture_half_is_known_by_its_weights(encoders: dict[str, DescriptionEncoder], clip_vision: Any) -> None:  # noqa: F811
    assert {encoder.picture_tower for encoder in encoders.values()} == {ImageEncoder(clip_vision).weights}


def test_another_picture_half_is_not_taken_for_it(encoders: dict[str, DescriptionEncoder], comfyui: Path) -> None:  # noqa: F811
    assert ImageEncoder(small_clip_vision(3)).weights != encoders["open_clip"].picture_tower


def test_the_real_picture_half_is_read_as_comfyui_reads_it(comfyui: Path, tmp_path: Path) -> None:  # noqa: F811
    """By ComfyUI's own conversion of an open_clip file, at two layers."""
    import comfy.clip_vision
    from safetensors.torch import load_file

    file = write_description_file(tmp_path / "model.safetensors", 5, layout="open_clip")
    converted = comfy.clip_vision.convert_to_transformers(load_file(file), "visual.")
    model = small_clip_vision(6)
    assert not model.load_sd(converted)[0]
    assert ImageEncoder(model).weights == read_picture_tower(file)


def test_a_file_of_pictures_alone_is_refused(comfyui: Path, tmp_path: Path) -> None:  # noqa: F811
    from safetensors.torch import save_file

    save_file(small_clip_vision(2).get_sd(), tmp_path / "vision.safetensors")
    with pytest.raises(EmbedderError, match="vision.safetensors holds no text half of a CLIP.*open_clip_model.safetensors of.*both halves, saved in .* as CLIP.*-both.safe"):
        load_description_encoder(tmp_path / "vision.safetensors")


def test_a_file_of_text_alone_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({n: t for n, t in load_file(files["open_clip"]).items() if not n.startswith("visual")}, tmp_path / "text.safetensors")
    with pytest.raises(EmbedderError, match="no picture half"):
        load_description_encoder(tmp_path / "text.safetensors")


def test_a_file_that_lacks_a_layers_part_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    lacking = "transformer.resblocks.1.mlp.c_proj.bias"
    save_file({n: t for n, t in load_file(files["open_clip"]).items() if n != lacking}, tmp_path / "cut.safetensors")
    with pytest.raises(EmbedderError, match="not whole"):
        load_description_encoder(tmp_path / "cut.safetensors")


def test_a_model_of_other_dimensions_is_refused(comfyui: Path, tmp_path: Path) -> None:  # noqa: F811
    file = write_description_file(tmp_path / "l.safetensors", 2, layout="open_clip", projection_dim=768)
    with pytest.raises(EmbedderError, match="768 dimensions"):
        load_description_encoder(file)


@pytest.mark.parametrize("content", [None, b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_missing_file_and_a_git_lfs_pointer_are_told(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(EmbedderError, match="There is no file|can't be read as a safetensors file"):
        load_description_encoder(tmp_path / "x.safetensors")
