"""Models for clients without a graph: found by fingerprint, on the CPU, unknown to ComfyUI's model management, gone when idle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
from diffusion_toolkit.embedders.models.text_embedder import load_text_embedder
from host.comfy_models import assert_parity, clip_vision, comfyui, embedding_directory, sdxl_clip  # noqa: F401  (fixtures)
from host.stand_in_models import write_description_file, write_text_embedder_folder
from host.waiting import wait_until

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.fixture
def folders(comfyui: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """ComfyUI's model folders, all empty."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for name in ("clip_vision", "checkpoints", "text_encoders", "sentence_transformers"):
        (tmp_path / "models" / name).mkdir(parents=True)
        monkeypatch.setitem(
            folder_paths.folder_names_and_paths, name, ([str(tmp_path / "models" / name)], {".safetensors"})
        )
    return tmp_path / "models"


@pytest.fixture
def models(comfyui: Path, tmp_path: Path) -> Any:  # noqa: F811
    from diffusion_toolkit.nodes.model_files import Known
    from diffusion_toolkit.nodes.routes.query_models import QueryModels

    made = QueryModels(Known(tmp_path / "models.json"))
    yield made
    made.free()


def stored(family: str, fingerprint: str, name: str = "a model", **details: Any) -> db.StoredEncoder:
    return db.StoredEncoder(1, family, fingerprint, name, 1024, details, True)


def loaded_by_the_host() -> list[Any]:
    import comfy.model_management

    return [loaded.model for loaded in comfy.model_management.current_loaded_models]


def test_the_text_embedder_is_found_among_several_and_the_host_is_not_told(folders, models):
    write_text_embedder_folder(folders / "sentence_transformers" / "another")
    from safetensors.numpy import load_file, save_file

    weights = folders / "sentence_transformers" / "another" / "3_Dense" / "model.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(weights).items()}, weights)
    folder = write_text_embedder_folder(folders / "sentence_transformers" / "wanted")
    managed = load_text_embedder(str(folder), allow_download=False)
    before = loaded_by_the_host()
    found = models.get("text", stored("text", managed.fingerprint))
    vector = found.encode_query("a shark under water")
    assert (found.name, models.loaded, loaded_by_the_host()) == ("wanted", ["wanted"], before)
    assert_parity(vector, managed.encode_query("a shark under water"))


def test_what_was_learnt_of_a_file_is_kept_until_the_file_changes(folders, models, tmp_path):
    from diffusion_toolkit.nodes.model_files import Known, candidates

    folder = write_text_embedder_folder(folders / "sentence_transformers" / "wanted")
    fingerprint = load_text_embedder(str(folder), allow_download=False).fingerprint
    models.get("text", stored("text", fingerprint))
    [file] = candidates("text")
    known = Known(tmp_path / "models.json")
    assert known.fingerprints(file) == {"text": fingerprint}
    weights = folder / "model.safetensors"
    weights.touch()
    assert known.fingerprints(file) is None


def test_a_model_that_no_file_holds_says_where_it_belongs(folders, models):
    from diffusion_toolkit.nodes.routes.query_models import ModelNotFound

    (folders / "clip_vision" / "broken.safetensors").write_bytes(b"no model")
    for family, place in (("text", "models/sentence_transformers"), ("image", "models/clip_vision"), ("clip_l", "models/checkpoints")):
        with pytest.raises(ModelNotFound, match=f"No file in {place}.*: the one \\[abcdef01\\]. Put it there"):
            models.get(family, stored(family, "abcdef0123", "the one"))
    with pytest.raises(ModelNotFound, match="does not know yet which text model belongs to the one"):
        models.get("description", stored("image", "abcdef0123", "the one"))


def test_the_text_half_is_found_by_its_picture_half(folders, models, clip_vision):  # noqa: F811
    write_description_file(folders / "clip_vision" / "both.safetensors", 2)
    image = ImageEncoder(clip_vision)
    found = models.get("description", stored("image", image.fingerprint, picture_tower=image.weights))
    before = loaded_by_the_host()
    assert found.encode_query("a red fox").shape == (1024,) and loaded_by_the_host() == before


def test_models_are_let_go_when_nobody_asks(folders, tmp_path):
    from diffusion_toolkit.nodes.model_files import Known
    from diffusion_toolkit.nodes.routes.query_models import QueryModels

    folder = write_text_embedder_folder(folders / "sentence_transformers" / "wanted")
    fingerprint = load_text_embedder(str(folder), allow_download=False).fingerprint
    models = QueryModels(Known(tmp_path / "models.json"), idle_minutes=0.5 / 60)
    models.get("text", stored("text", fingerprint))
    assert models.loaded == ["wanted"]
    wait_until(lambda: not models.loaded)
    assert models.get("text", stored("text", fingerprint)).encode_query("again").shape == (1024,)
    models.free()


def test_models_that_were_not_the_one_are_let_go_too(folders, tmp_path):
    from diffusion_toolkit.nodes.model_files import Known
    from diffusion_toolkit.nodes.routes.query_models import ModelNotFound, QueryModels

    write_text_embedder_folder(folders / "sentence_transformers" / "another")
    models = QueryModels(Known(tmp_path / "models.json"), idle_minutes=0.5 / 60)
    with pytest.raises(ModelNotFound):
        models.get("text", stored("text", "abcdef0123"))
    assert models.loaded == ["another"]
    wait_until(lambda: not models.loaded)


@pytest.mark.parametrize(
    "trouble", [MemoryError("no room"), OSError("the drive is gone"), ImportError("no open_clip"), RuntimeError("can't allocate memory")]
)
def test_a_file_that_could_not_be_loaded_is_tried_again_after_a_restart(folders, tmp_path, monkeypatch, trouble):
    from diffusion_toolkit.nodes.model_files import Known, candidates
    from diffusion_toolkit.nodes.routes import query_models

    folder = write_text_embedder_folder(folders / "sentence_transformers" / "wanted")
    fingerprint = load_text_embedder(str(folder), allow_download=False).fingerprint
    tried = []

    def fail(file: Any) -> Any:
        tried.append(file.name)
        raise trouble

    monkeypatch.setattr(query_models, "_load", fail)
    models = query_models.QueryModels(Known(tmp_path / "models.json"))
    for _ in range(2):
        with pytest.raises(query_models.ModelNotFound, match=f"wanted could not be loaded: {type(trouble).__name__}: {trouble}. Restart"):
            models.get("text", stored("text", fingerprint))
    assert tried == ["wanted"]
    assert Known(tmp_path / "models.json").fingerprints(*candidates("text")) is None
    models.free()


def test_a_file_cut_short_is_no_foreign_model(folders, models, tmp_path):
    from diffusion_toolkit.nodes.model_files import Known, candidates
    from diffusion_toolkit.nodes.routes.query_models import ModelNotFound

    folder = write_text_embedder_folder(folders / "sentence_transformers" / "wanted")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelNotFound, match="wanted could not be loaded: EmbedderError.*cut short"):
        models.get("text", stored("text", "abcdef0123"))
    assert Known(tmp_path / "models.json").fingerprints(*candidates("text")) is None


def test_a_foreign_model_is_remembered_as_one(folders, models, tmp_path):
    from diffusion_toolkit.nodes.model_files import Known, candidates
    from diffusion_toolkit.nodes.routes.query_models import ModelNotFound

    folder = folders / "sentence_transformers" / "foreign"
    folder.mkdir()
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "own_code.Model"}]')
    with pytest.raises(ModelNotFound) as told:
        models.get("text", stored("text", "abcdef0123"))
    assert "could not be loaded" not in str(told.value)
    assert Known(tmp_path / "models.json").fingerprints(*candidates("text")) == {}


def test_a_folder_that_was_taken_away_is_not_found_again(folders, models):
    from diffusion_toolkit.nodes.routes.query_models import ModelNotFound

    folder = write_text_embedder_folder(folders / "sentence_transformers" / "wanted")
    fingerprint = load_text_embedder(str(folder), allow_download=False).fingerprint
    models.get("text", stored("text", fingerprint))
    shutil.rmtree(folder)
    with pytest.raises(ModelNotFound):
        models.get("text", stored("text", fingerprint))


def test_unmanaged_encoders_make_what_managed_ones_make(clip_vision, sdxl_clip):  # noqa: F811
    before = loaded_by_the_host()
    picture = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    image = ImageEncoder(clip_vision, managed=False).encode([picture])
    words = SDXLTextEncoder(sdxl_clip, managed=False).encode([("oil painting", "oil painting")])
    assert loaded_by_the_host() == before
    assert_parity(image, ImageEncoder(clip_vision).encode([picture]))
    theirs = SDXLTextEncoder(sdxl_clip).encode([("oil painting", "oil painting")])
    assert_parity(words.clip_l, theirs.clip_l)
    assert_parity(words.clip_g, theirs.clip_g)


def test_candidates_are_told_by_their_headers_alone(folders):
    from diffusion_toolkit.nodes.model_files import candidates
    from safetensors.numpy import save_file

    def write(name: str, **shapes: tuple[int, ...]) -> None:
        save_file({key.replace("__", "."): np.zeros(shape, np.float16) for key, shape in shapes.items()}, folders / name)

    embedding = "text_model__embeddings__token_embedding__weight"
    write("clip_vision/vit_h.safetensors", visual_projection__weight=(1024, 4))
    write("clip_vision/vit_l.safetensors", visual_projection__weight=(768, 4))
    write("text_encoders/l.safetensors", **{embedding: (49408, 768)})
    write("text_encoders/t5.safetensors", shared__weight=(32, 4))
    write("checkpoints/sdxl.safetensors", **{f"conditioner__embedders__0__transformer__{embedding}": (2, 2),
                                              "conditioner__embedders__1__model__ln_final__weight": (2,)})  # fmt: skip
    write("checkpoints/sd15.safetensors", **{f"cond_stage_model__transformer__{embedding}": (2, 2)})
    assert [file.name for file in candidates("image")] == ["vit_h.safetensors"]
    assert [file.name for file in candidates("clip_g")] == ["sdxl.safetensors"]
    write("text_encoders/g.safetensors", **{embedding: (49408, 1280)})
    import folder_paths

    folder_paths.filename_list_cache.clear()
    assert [file.name for file in candidates("clip_l")] == ["sdxl.safetensors", "l.safetensors and g.safetensors"]
