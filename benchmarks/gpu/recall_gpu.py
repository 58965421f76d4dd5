"""On a machine with a GPU: token states stored and recalled against CLIPTextEncode, at float16 and bfloat16, and the time to have them.

    python3 benchmarks/gpu/recall_gpu.py [--dtypes float16 bfloat16] [--texts 50] [--disable-dynamic-vram] [--rehearse] [--comfyui FOLDER]

Needs ComfyUI's `comfy` package (FOLDER; .cache/ComfyUI without it) and what it imports, but no server, no database and nothing else of this
package's requirements: see README.md in this folder.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from as_comfyui import REPOSITORY, gpu_bytes, options_of, rehearsal, start, synchronise

FROM_THE_LIBRARY = 0.6e-3  # s: the least that the bytes take out of PostgreSQL, by benchmarks/recall.py (0.64 ms for 332 kB, without a checksum)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", default=["float16", "bfloat16"], help="of the CLIP's weights")
    parser.add_argument("--texts", type=int, default=50)
    options = options_of(parser)
    with rehearsal(options.rehearse):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    print(f"{start(options)}\n")
    import torch
    from host.varied_texts import VARIED

    texts = dict(list(VARIED.items())[: 6 if options.rehearse else options.texts])
    with torch.inference_mode():
        for dtype in options.dtypes:
            clip = made(options.rehearse, dtype)
            equality(clip, dtype, texts)
            times(clip, dtype, VARIED["short"], options.rehearse)
            del clip


def made(small: bool, dtype: str) -> Any:
    import torch
    from full_size import full_size_clip
    from host.stand_in_models import small_clip

    with torch.inference_mode(False):
        return small_clip(1, dtype=dtype) if small else full_size_clip(dtype=dtype)


def equality(clip: Any, dtype: str, texts: dict[str, str]) -> None:
    """Every text as Index Folder encodes and stores it, in batches, beside CLIPTextEncode one by one."""
    from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder

    packing = packing_module()
    ours = SDXLTextEncoder(clip).encode([(text, text) for text in texts.values()])
    rows = []
    for row, (name, text) in enumerate(texts.items()):
        states, pooled = packing.unpacked(packing.packed(ours.states[row].astype("float16"), ours.clip_g[row].astype("float16")))
        their_states, their_pooled = clip_text_encode(clip, text)
        rows.append((name, *apart(states, their_states), apart(pooled, their_pooled)[0]))
    name, states, _, pooled = max(rows, key=lambda one: one[1])
    within = sum(one[2] for one in rows) / len(rows)
    print(
        f"{dtype}: {len(rows)} texts; the farthest is {name!r}: states {states:.2f}, pooled {pooled:.2f} of float16's step at the largest value "
        f"(1 is the bar); {within:.2%} of the values are within float16's own rounding of CLIPTextEncode's"
    )


def apart(ours: Any, theirs: Any) -> tuple[float, float]:
    """The largest difference in float16 steps (2^-11) of the largest value, and the share of values no farther than float16 rounds."""
    import numpy as np

    off = np.abs(ours.astype(np.float32) - theirs)
    half = np.spacing(np.abs(theirs).astype(np.float16)).astype(np.float32) / 2
    return float(off.max() / np.abs(theirs).max() * 2**11), float((off <= half).mean())


def clip_text_encode(clip: Any, text: str) -> tuple[Any, Any]:
    """What the node does: states [T, 2048] and pooled [1280], float32."""
    [[states, extra]] = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    return states[0].float().cpu().numpy(), extra["pooled_output"][0].float().cpu().numpy()


def times(clip: Any, dtype: str, text: str, small: bool) -> None:
    """From stored bytes to tensors where the sampler wants them, against encoding with a CLIP that is loaded, and one that is not."""
    import comfy.model_management as host
    import comfy.sd
    import numpy as np
    import torch
    from full_size import write_clip_files

    packing, device = packing_module(), host.get_torch_device()
    states, pooled = clip_text_encode(clip, text)
    data = packing.packed(states.astype(np.float16), pooled.astype(np.float16))
    checksum = hashlib.sha256(data).digest()

    def recall() -> None:
        assert hashlib.sha256(data).digest() == checksum  # as db/token_states.py verifies them
        for part in packing.unpacked(data):
            torch.from_numpy(np.array(part, np.float32)).to(device)
        synchronise()

    def encode(which: Any) -> None:
        clip_text_encode(which, text)
        synchronise()

    encode(clip)
    warm = best(lambda: encode(clip))
    host.unload_all_models()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = gpu_bytes()
    recalled, taken = best(recall), gpu_bytes() - before
    with tempfile.TemporaryDirectory() as folder:
        names = write_clip_files(Path(folder))
        files = [str(Path(folder) / name) for name in names]

        def cold() -> None:
            host.unload_all_models()
            encode(comfy.sd.load_clip(files, clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION))

        loaded = best(cold, rounds=1 if small else 3)
    whole = recalled + FROM_THE_LIBRARY
    print(
        f"{dtype}: one text of a section: recalled from its bytes {recalled * 1e3:.2f} ms, verified (GPU memory {taken / 1e6:.1f} MB), with {FROM_THE_LIBRARY * 1e3:.1f} ms "
        f"more for their read from PostgreSQL {whole * 1e3:.2f} ms; encoded by a CLIP that is loaded {warm * 1e3:.1f} ms ({warm / whole:.1f} x), by one that is loaded first "
        f"{loaded * 1e3:.0f} ms ({loaded / whole:.0f} x; GPU memory {(gpu_bytes() - before) / 1e6:.0f} MB)\n"
    )


def packing_module() -> Any:
    """db/_packing.py alone: the package `db` wants the database's driver."""
    spec = importlib.util.spec_from_file_location("packing", REPOSITORY / "db" / "_packing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def best(job: Callable[[], None], rounds: int = 7) -> float:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        job()
        taken.append(time.perf_counter() - started)
    return min(taken)


if __name__ == "__main__":
    main()
