"""Which model file a run of the command takes for a library, with small objects in the place of models."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module", autouse=True)
def comfyui():
    import_comfy()


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """Finds a model for a library of CLIP-L "l", CLIP-G "g" and token states "s" among files: name to (CLIP-L, CLIP-G, token states), or
    what loading it raises. The library has been told too little of it to load it later."""
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes import host, model_files
    from diffusion_toolkit.nodes.command import models

    monkeypatch.setattr(host, "toolkit_directory", lambda: tmp_path)
    active = {
        family: db.StoredEncoder(1, family, family[-1], "mine.safetensors", 8, {}, True)
        for family in ("clip_l", "clip_g", "token_states")
    }

    def find(**files):
        for name in files:
            if not (tmp_path / name).exists():
                (tmp_path / name).touch()
        monkeypatch.setattr(model_files, "candidates", lambda family: [model_files.ModelFile("clip", (tmp_path / name,)) for name in files])
        loaded = []

        def load(path):
            name = path.rpartition("/")[2].rpartition("\\")[2]
            loaded.append(name)
            if isinstance(files[name], Exception):
                raise files[name]
            clip_l, clip_g, states = files[name]
            encode = lambda pairs, states=True: [name, *pairs]  # noqa: E731
            return SimpleNamespace(
                clip_l_fingerprint=clip_l, clip_g_fingerprint=clip_g, fingerprint=states, encode=encode, batch_size=3,
                tokenized=lambda pairs: [pair.upper() for pair in pairs],
            )  # fmt: skip

        kind = replace(models._KINDS[-1], load=load, wrap=lambda model: model)
        monkeypatch.setattr(models, "_KINDS", (kind,))
        shelf = models._Shelf(active, model_files.Known(find.kept), told.append, lambda: None)
        model, note = models._by_the_library(kind, shelf)
        return model, note, loaded

    told: list[str] = []
    find.told, find.kept, find.active = told, tmp_path / "models.json", active
    return find


def test_a_merge_that_has_the_librarys_clip_g_and_another_clip_l_is_not_its_model(loader):
    model, _, loaded = loader(a=("other", "g", "s"), b=("l", "g", "s"))
    assert (model.clip_l_fingerprint, loaded) == ("l", ["a", "b"])
    model, _, loaded = loader(a=("other", "g", "s"), b=("l", "g", "s"))
    assert (model.clip_l_fingerprint, loaded) == ("l", ["b"]), "what was learnt of both is looked at too"
    model, note, _ = loader(a=("other", "g", "s"))
    assert model is None and "--checkpoint" in note


def test_a_file_that_is_another_model_is_loaded_once_and_one_that_memory_lacked_for_again(loader):
    from diffusion_toolkit.embedders.errors import EmbedderError

    files = {"odd": EmbedderError("is no SDXL"), "large": MemoryError()}
    assert loader(**files)[2] == ["odd", "large"] and loader(**files)[2] == ["large"]
    assert list(json.loads(loader.kept.read_text(encoding="utf-8")).values()) == [{}]
    assert loader.told[0] == "Looking for the model mine.safetensors (1 of 2 files): loading odd"


@pytest.mark.parametrize("wrong", ["MemoryError()", "EmbedderError('is no SDXL')", "RuntimeError('ERROR: header too large\\n')"])
def test_a_file_that_was_named_and_is_no_such_model_is_told_with_its_option(tmp_path, monkeypatch, wrong):
    from diffusion_toolkit.embedders.errors import EmbedderError
    from diffusion_toolkit.nodes.command import models
    from diffusion_toolkit.nodes.command.errors import UsageError

    error = eval(wrong, {"EmbedderError": EmbedderError})

    def load(path):
        raise error

    monkeypatch.setattr(models, "_KINDS", (replace(models._KINDS[-1], load=load),))
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(UsageError, match="--checkpoint: .*(MemoryError|is no SDXL|header too large)"):
        models.load_models(models.Recipe(checkpoint=str(tmp_path / "a.safetensors")), {}, lambda what: None, lambda: None)


def test_what_can_not_be_kept_of_a_model_leaves_nothing_behind(tmp_path, caplog):
    from diffusion_toolkit.nodes.model_files import Known

    (tmp_path / "models.json").mkdir()  # in the place of a reader, who keeps Windows from replacing a file
    Known(tmp_path / "models.json").remember("a file", {"clip_l": "l"})
    assert "it will be learnt again" in caplog.text and [file.name for file in tmp_path.iterdir()] == ["models.json"]


def test_a_whole_path_is_not_asked_of_comfyui_which_fails_at_another_drive(tmp_path, monkeypatch):
    import folder_paths
    from diffusion_toolkit.nodes.command import models

    def other_drive(folder, name):  # as os.path.relpath has it on Windows
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(folder_paths, "get_full_path", other_drive)
    (tmp_path / "a.safetensors").touch()
    assert models._find(models._KINDS[-1], str(tmp_path / "a.safetensors")) == str(tmp_path / "a.safetensors")
    assert models._find(models._KINDS[-1], str(tmp_path / "b.safetensors")) is None


def test_a_model_whose_name_begins_as_a_users_folder_is_found_among_comfyuis(tmp_path, monkeypatch):
    import folder_paths
    from diffusion_toolkit.nodes.command import models

    monkeypatch.setattr(folder_paths, "get_full_path", lambda folder, name: {"~old/a.safetensors": "/models/~old/a.safetensors"}.get(name))
    assert models._find(models._KINDS[-1], "~old/a.safetensors") == "/models/~old/a.safetensors"
    assert models._find(models._KINDS[-1], "~old/b.safetensors") is None


@pytest.mark.parametrize("code", ["import nothing_of_this_name", "def clip():\n    import nothing_of_this_name"])
def test_what_a_script_for_models_can_not_import_is_not_said_to_be_missing_here(tmp_path, code):
    from diffusion_toolkit.nodes.command import models
    from diffusion_toolkit.nodes.command.errors import UsageError

    script = tmp_path / "mine.py"
    script.write_text(code, encoding="utf-8")
    recipe = models.Recipe("none", "auto", "none", str(script))
    with pytest.raises(UsageError, match="mine.py can't import what it asks for .No module named 'nothing_of_this_name'"):
        models.load_models(recipe, {}, lambda what: None, lambda: None)


def test_a_clip_of_another_kind_from_a_script_is_told_with_its_name(tmp_path):
    from diffusion_toolkit.nodes.command import models
    from diffusion_toolkit.nodes.command.errors import UsageError

    script = tmp_path / "mine.py"
    script.write_text("def clip(): return None", encoding="utf-8")
    with pytest.raises(UsageError, match="--models-from: .*mine.py: The clip input holds no model"):
        models.load_models(models.Recipe("none", "auto", "none", str(script)), {}, lambda what: None, lambda: None)


@pytest.fixture
def of_a_script(later, tmp_path, monkeypatch):
    """Loads the CLIP of a person's script for a library that has all that is known of it; whether its function was called before it had work."""
    import folder_paths
    from diffusion_toolkit.nodes.command import models

    (tmp_path / "ink.safetensors").touch()
    monkeypatch.setattr(folder_paths, "get_filename_list", lambda folder: ["ink.safetensors"] if folder == "loras" else [])
    monkeypatch.setattr(folder_paths, "get_full_path", lambda folder, name: str(tmp_path / name))
    script, calls = tmp_path / "mine.py", tmp_path / "calls"
    script.write_text(f"def clip():\n    open({str(calls)!r}, 'a').write('x')\n    return 's'", encoding="utf-8")
    clip = SimpleNamespace(clip_l_fingerprint="l", clip_g_fingerprint="g", encode=lambda pairs: pairs)
    monkeypatch.setattr(models, "_KINDS", (replace(models._KINDS[-1], wrap=lambda made: SimpleNamespace(**vars(clip), fingerprint=made)),))

    def load():
        before = calls.read_text() if calls.exists() else ""
        recipe = models.Recipe("none", "auto", "none", str(script))
        model = models.load_models(recipe, later.active, lambda what: None, lambda: None)[0].clip
        called = (calls.read_text() if calls.exists() else "") != before
        assert model.encode(["a"]) == ["a"]
        return called

    return load


def test_a_function_of_a_script_is_called_when_there_is_work_for_its_model(of_a_script):
    assert [of_a_script(), of_a_script()] == [True, False]


@pytest.mark.parametrize("changed", ["mine.py", "ink.safetensors"])
def test_a_function_of_a_script_is_called_when_its_model_may_be_another(of_a_script, tmp_path, changed):
    of_a_script()
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert of_a_script()


def test_a_script_that_is_saved_while_its_function_runs_is_another_one(of_a_script, tmp_path):
    script = tmp_path / "mine.py"
    written = script.read_text(encoding="utf-8")
    saved = f"open({str(script)!r}, 'a').write('#')"
    script.write_text(written.replace("def clip():\n", f"def clip():\n    {saved}\n"), encoding="utf-8")
    assert [of_a_script(), of_a_script()] == [True, True]


def test_a_model_whose_token_states_are_of_another_layer_is_not_the_librarys(loader):
    model, note, _ = loader(a=("l", "g", "other"))
    assert model is None and "a is but for its last layer" in note and "--models-from" in note
    note = loader(b=("l", "other", "x"))[1]
    assert "--checkpoint" in note and "layer" not in note


def test_what_an_older_version_learnt_of_a_file_is_learnt_again(loader, tmp_path):
    """It left out the token states of some, which would then be taken for other models."""
    from diffusion_toolkit.nodes.model_files import Known, ModelFile, known_here

    (tmp_path / "mine").touch()
    file = ModelFile("clip", (tmp_path / "mine",))
    Known(tmp_path / "models.json").remember(file.key, {"clip_l": "l", "clip_g": "g"})
    assert known_here().fingerprints(file) is None
    known_here().remember(file.key, {})
    assert known_here().fingerprints(file) == {} and known_here()._file.parent == tmp_path


def test_what_a_search_learnt_of_a_file_serves_the_command(later, tmp_path, monkeypatch):
    from diffusion_toolkit.nodes.model_files import Known, ModelFile
    from diffusion_toolkit.nodes.routes import query_models

    later.kept.unlink()
    model = SimpleNamespace(clip_l_fingerprint="l", clip_g_fingerprint="g", fingerprint="s")
    monkeypatch.setattr(query_models, "_load", lambda file: model)
    monkeypatch.setattr(query_models, "candidates", lambda family: [ModelFile("clip", (tmp_path / "mine",))])
    assert query_models.QueryModels(Known(later.kept)).get("clip_g", later.active["clip_g"]) is model
    model, _, loaded = later(mine=("l", "g", "s"))
    assert (model.name, loaded) == ("mine.safetensors", [])


@pytest.fixture
def later(loader):
    """`loader`, for a library that has been told all of its model, which was found before."""
    loader(mine=("l", "g", "s"))
    loader.active["token_states"].details.update(clip_l="l", clip_g="g")
    return loader


def test_the_librarys_model_is_loaded_when_it_has_work(later):
    model, note, loaded = later(mine=("l", "g", "s"))
    told = (model.name, model.clip_l_fingerprint, model.clip_g_fingerprint, model.fingerprint, model.halves)
    assert told == ("mine.safetensors", "l", "g", "s", {"clip_l": "l", "clip_g": "g"}) and note == ""
    assert model.batch_size >= 64 and model.tokenized(["a"]) == ["a"] and loaded == []
    assert model.encode(["a"], states=False) == ["mine", "a"] and loaded == ["mine"]
    assert model.batch_size == 3 and model.tokenized(["a"]) == ["A"]
    model.encode(["b"])
    assert loaded == ["mine"]


def test_a_file_that_is_another_model_when_it_is_loaded_ends_the_run(later):
    from diffusion_toolkit.nodes.command.errors import LoadError

    with pytest.raises(LoadError, match="another model than it was.*What was written is kept"):
        later(mine=("l", "g", "other"))[0].encode(["a"])


def test_named_files_are_looked_for_before_one_is_loaded(tmp_path, monkeypatch):
    from diffusion_toolkit.nodes import host
    from diffusion_toolkit.nodes.command import models
    from diffusion_toolkit.nodes.command.errors import UsageError

    monkeypatch.setattr(host, "toolkit_directory", lambda: tmp_path)
    (tmp_path / "modules.json").touch()
    recipe = models.Recipe(text_embedder=str(tmp_path), checkpoint="nowhere.safetensors")
    with pytest.raises(UsageError, match="--checkpoint: there is no"):
        models.load_models(recipe, {}, lambda what: pytest.fail(what), lambda: None)


def test_the_thread_of_a_run_is_as_comfyuis_nodes_have_it_from_the_first_model_on():
    import torch
    from diffusion_toolkit.nodes.command.later import Inference

    inference = Inference()
    with inference:
        assert not torch.is_inference_mode_enabled()
        inference(), inference()
        assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()
    with inference:  # as a worker of Ray does with each call
        assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()


def test_node_classes_that_can_not_be_imported_end_the_run_and_are_tried_once(monkeypatch):
    """Else each picture with a graph would be told as one that can't be read."""
    from diffusion_toolkit.nodes.command import later
    from diffusion_toolkit.nodes.command.errors import LoadError

    tried = []
    monkeypatch.setattr(later, "own_definitions", lambda: tried.append(1) or open("nowhere/at all"))
    definitions = later.Definitions()
    assert not tried
    for _ in range(2):
        with pytest.raises(LoadError, match="FileNotFoundError.*--object-info"):
            definitions.get("KSampler")
    assert tried == [1]


def test_a_model_that_is_not_there_is_told_with_what_is_like_it_and_what_there_is(tmp_path, monkeypatch):
    import folder_paths
    from diffusion_toolkit.nodes.command import models
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.indexing import load_text_embedder

    for name in ("stand-in-minilm", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "modules.json").touch()
    monkeypatch.setattr(load_text_embedder, "text_embedder_folders", lambda: [tmp_path])
    files = [f"checkpoint {n:02}.safetensors" for n in range(12)]
    monkeypatch.setattr(folder_paths, "get_filename_list", lambda folder: files if folder == "checkpoints" else [])
    text, picture, clip = models._KINDS
    for kind, name, told in (
        (text, "stand-in-minilmm", r"no such path. Did you mean stand-in-minilm\? That folder has another, stand-in-minilm.$"),
        (picture, "any", "no such path. That folder has none.$"),
        (clip, "chekpoint 03.safetensors", r"Did you mean checkpoint 03\.safetensors\? That folder has checkpoint 00\..* and 2 more.$"),
    ):
        with pytest.raises(UsageError, match=told):
            models._path(kind, name)


def test_that_node_classes_are_loaded_is_told_in_the_place_of_the_files_that_wait_for_them(monkeypatch):
    from diffusion_toolkit.nodes.command import later

    definitions, told = later.Definitions(), []
    tell = definitions.telling(lambda *stage: told.append(stage))

    def own_definitions():
        time.sleep(0.02)  # longer than a tick of Windows' clock
        tell("Reading images", 0, 5)
        return {"KSampler": {}}

    monkeypatch.setattr(later, "own_definitions", own_definitions)
    tell("Reading images", 0, 5)
    assert not definitions and not definitions.loading_seconds and "KSampler" in definitions and not definitions and definitions.loading_seconds > 0
    tell("Reading images", 1, 5)
    assert told == [("Reading images", 0, 5), (later.LOADING, 0, 0), ("Reading images", 1, 5)]


@pytest.mark.parametrize("shape", [[49408], [], [49408, 768, 1], [49408, [768]], 49408])
def test_a_text_encoder_of_odd_shapes_is_passed_over(shape, tmp_path, monkeypatch):
    import folder_paths
    from diffusion_toolkit.nodes.model_files import candidates

    header = json.dumps({"text_model.embeddings.token_embedding.weight": {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "text_encoders", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", ([], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    assert candidates("clip_l") == []
