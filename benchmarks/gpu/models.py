"""The three models at full size with seeded random weights, and what a device can do with them alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from as_comfyui import synchronise

TEXTS_AN_IMAGE = 2
AT_ONCE = 256  # texts in a bare forward of BERT
BERT = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}


class Models:
    """The three models; `small` are for rehearsals."""

    def __init__(self, small: bool, scratch: Path, known: list[str]) -> None:
        import comfy.clip_vision
        import torch
        from diffusion_toolkit.embedders.models.text_embedder import load_text_embedder
        from full_size import full_size_clip
        from host.stand_in_models import fill_with_seeded_weights, small_clip, small_clip_vision

        with torch.inference_mode(False):
            if not small:
                self.clip_vision = comfy.clip_vision.ClipVisionModel(str(Path(comfy.clip_vision.__file__).parent / "clip_vision_config_h.json"))
                fill_with_seeded_weights(self.clip_vision.model, 1)
                self.clip = full_size_clip()
            else:
                self.clip_vision, self.clip = small_clip_vision(1), small_clip(1)
            self.text = load_text_embedder(str(write_bert(scratch / "bert", 2 if small else 24, known)), allow_download=False)
        vision, model = self.clip_vision.config, self.clip.cond_stage_model
        tokens = sum(len(text.split()) + 2 for text in known) / len(known)  # commas apart, as many more
        self._text_flop = sum(
            transformer_flop(tower.num_layers, *layer.mlp.fc1.weight.shape[::-1], 77)
            for tower in (model.clip_l, model.clip_g)
            for layer in [tower.transformer.text_model.encoder.layers[0]]
        ) + transformer_flop(2 if small else 24, 1024, 4096, tokens)
        patches = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
        self._image_flop = transformer_flop(vision["num_hidden_layers"], vision["hidden_size"], vision["intermediate_size"], patches)
        self._seconds: dict[str, float] = {}  # of the bare forwards, for one picture or text

    def flop(self, images_per_text: int) -> float:
        """Of an image and its share of two texts, were all 77 tokens of each computed: the arithmetic that the issue counts."""
        return self._image_flop + TEXTS_AN_IMAGE * self._text_flop / images_per_text

    def forwards(self, images_per_text: int) -> float:
        """Images a second that the bare forwards allow."""
        seconds = self._seconds
        return 1 / (seconds["image"] + TEXTS_AN_IMAGE * (seconds["clip"] + seconds["text"]) / images_per_text)

    def encoders(self) -> Any:
        from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
        from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder
        from diffusion_toolkit.embedders.pipeline import Encoders

        return Encoders(ImageEncoder(self.clip_vision), self.text, SDXLTextEncoder(self.clip))

    def warm_up(self) -> None:
        import numpy as np

        encoders = self.encoders()
        encoders.image.encode([np.zeros((64, 64, 3), np.uint8)])
        encoders.clip.encode([("warm", "warm")])
        encoders.text.encode_texts(["warm"])

    def check(self, some: list[str]) -> None:
        """How near half precision comes to the host's, on this device with these weights."""
        import numpy as np

        random, encoders = np.random.default_rng(1), self.encoders()
        pictures = [random.integers(0, 255, (256, 256, 3), np.uint8) for _ in range(len(some) // 2)]
        jobs = {
            "image": (encoders.image, lambda: encoders.image.encode(pictures)),
            "clip_l": (encoders.clip, lambda: encoders.clip.encode([(text, text) for text in some], states=False).clip_l),
            "clip_g": (encoders.clip, lambda: encoders.clip.encode([(text, text) for text in some], states=False).clip_g),
            "text": (encoders.text, lambda: encoders.text.encode_texts(some)),
        }
        lines = []
        for name, (encoder, job) in jobs.items():
            dtypes, ours = [], job()
            for half in halves(encoder):
                dtypes.append(half.dtype)
                half.dtype = None
            theirs = job()
            for half, dtype in zip(halves(encoder), dtypes):
                half.dtype = dtype
            least = ((ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)).min()
            lines.append(f"{name} 1 - {1 - least:.1e} ({', '.join(sorted({str(dtype) for dtype in dtypes}))})")
        print("least cosine to full precision: " + "; ".join(lines))

    def measure(self, some: list[str], images: int) -> None:
        """The models' forwards alone, tokenized and uploaded beforehand; told for both precisions."""
        jobs = self._jobs(some, images)
        for precision in ("full", "half"):
            for name, (encoder, job) in jobs.items():
                dtypes = [half.dtype for half in halves(encoder)]
                for half, dtype in zip(halves(encoder), dtypes):
                    half.dtype = dtype if precision == "half" else None
                load(encoder)
                job()
                self._seconds[name] = per_item(job)
                for half, dtype in zip(halves(encoder), dtypes):
                    half.dtype = dtype
            parts = ", ".join(f"{name} {taken * 1e3:.2f} ms" for name, taken in self._seconds.items())
            print(
                f"bare forwards, {precision} precision{' where there is one' if precision == 'half' else ''}: {parts}; with two texts an image "
                f"{self.forwards(1):.1f} images/s, {self.forwards(1) * self.flop(1) / 1e12:.0f} TFLOP/s of {self.flop(1) / 1e9:.0f} GFLOP an image"
            )

    def profile(self, some: list[str], images: int) -> None:
        """Of one call of each forward: how much of its time the device computed, and at what."""
        import torch
        from torch.profiler import ProfilerActivity, profile

        on_gpu = torch.cuda.is_available()
        kind, attribute = (ProfilerActivity.CUDA, "self_device_time_total") if on_gpu else (ProfilerActivity.CPU, "self_cpu_time_total")
        for name, (encoder, job) in self._jobs(some, images).items():
            load(encoder)
            job()
            synchronise()
            with profile(activities=[kind]) as seen:
                started = time.perf_counter()
                done = job()
                synchronise()
                taken = time.perf_counter() - started
            events = sorted(seen.key_averages(), key=lambda event: -getattr(event, attribute))
            busy = sum(getattr(event, attribute) for event in events) / 1e6
            kernels = "\n  ".join(f"{getattr(event, attribute) / 1e3:8.2f} ms in {event.count:4} of {event.key[:110]}" for event in events[:6])
            print(f"profile, {name}, {done} at once: {taken * 1e3:.1f} ms, the device busy for {busy * 1e3:.1f} ms of them\n  {kernels}")

    def _jobs(self, some: list[str], images: int) -> dict[str, tuple[Any, Callable[[], int]]]:
        """An encoder and its bare forward, which returns how many it did."""
        import torch

        encoders = self.encoders()
        vision, clip, text = (encoder._crew.workers[0] for encoder in (encoders.image, encoders.clip, encoders.text))
        self.warm_up()
        pixels = torch.randn(min(images, vision.batch.most), 3, 224, 224, device=vision.device)
        tokens = encoders.clip.tokenized([(one, one) for one in some])
        ordered = sorted(some, key=len)
        prepared = getattr(text._model, "preprocess", None) or text._model.tokenize  # by sentence-transformers' version
        inputs = [prepared(ordered[start : start + AT_ONCE]) for start in range(0, len(ordered), AT_ONCE)]
        inputs = [{name: one.to(text.device) if hasattr(one, "to") else one for name, one in given.items()} for given in inputs]

        def texts() -> int:
            dtype = text._half.dtype
            with torch.autocast(text.device.type, dtype) if dtype is not None else nullcontext():
                return sum(len(text._model(dict(given))["sentence_embedding"]) for given in inputs)

        load(encoders.image)
        vision._half.look(pixels, vision._vectors)
        return {
            "image": (encoders.image, lambda: len(vision._vectors(pixels, vision._half.dtype))),
            "clip": (encoders.clip, lambda: len(clip.vectors(tokens)[0])),
            "text": (encoders.text, texts),
        }


def halves(encoder: Any) -> list[Any]:
    """How each forward of an encoder was looked at: a CLIP's towers have two ways, each with what is tried first."""
    worker = encoder._crew.workers[0]
    return [first for first, *_ in (*worker._whole.values(), *worker._short.values())] if hasattr(worker, "_whole") else [worker._half]


def load(encoder: Any) -> None:
    from diffusion_toolkit.embedders.models.devices import load

    load([encoder._crew.workers[0].patcher], 0)


def per_item(job: Callable[[], float], rounds: int = 4) -> float:
    """Seconds for each item that `job` says it did, the best of some rounds, each long enough to time."""
    best = float("inf")
    for _ in range(rounds):
        started, done = time.perf_counter(), 0.0
        while time.perf_counter() - started < 0.5:
            done += job()
            synchronise()
        best = min(best, (time.perf_counter() - started) / done)
    return best


def fastest_product() -> float:
    """FLOP/s of a large float16 product of matrices: what the arithmetic can't go beyond."""
    import torch

    size, device = (8192, "cuda") if torch.cuda.is_available() else (256, "cpu")
    one = torch.randn(size, size, dtype=torch.float16, device=device)
    synchronise()
    return 1 / per_item(lambda: 2 * float(size) ** 3 if len(one @ one) else 0)


def transformer_flop(layers: int, width: int, wide: int, tokens: float) -> float:
    """Multiplications and additions of a forward: the projections and the MLP, then attention's two products."""
    return layers * (2 * tokens * (4 * width**2 + 2 * width * wide) + 4 * tokens**2 * width)


def write_bert(folder: Path, layers: int, known: list[str]) -> Path:
    """A sentence-transformers folder laid out as BAAI/bge-large-en-v1.5 is, with random weights and a vocabulary of these texts' words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    letters = [chr(code) for code in range(33, 127)]
    words = sorted({word for text in known for word in "".join(c if c.isalnum() else " " for c in text.lower()).split() if len(word) > 1})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters), *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(7)
    BertModel(BertConfig(**{**BERT, "num_hidden_layers": layers}, vocab_size=len(vocabulary))).save_pretrained(folder)
    pooling = {"word_embedding_dimension": 1024, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
    ]
    for name, content in (("1_Pooling/config", pooling), ("modules", modules), ("sentence_bert_config", {"max_seq_length": 512, "do_lower_case": True})):
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return folder
