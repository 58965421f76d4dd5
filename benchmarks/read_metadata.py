"""Reading metadata: `PIL.Image.open` alone, this package's `read_metadata`, and sd-parsers, on the same files, turn by turn.

The files are real ones: the pictures and animations of ComfyUI's template packages as they are, the same stills as
ComfyUI's SaveImage writes them (graph inside), and ../shared/corpus where it is there; each as often as needed.
Every way gets a path, opens the file itself and closes it. Index Folder hands over the running ComfyUI's node definitions.

    .venv/bin/python benchmarks/read_metadata.py [--files 1000] [--rounds 5] [--object-info FILE] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import io
import logging
import os
import pstats
import shutil
import statistics
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import REPOSITORY, Timed, machine, object_info, timed

WRITTEN = REPOSITORY / ".cache" / "demo" / "output" / "template-images"  # by tests/demo.py, as SaveImage writes them
CORPUS = REPOSITORY.parent / "shared" / "corpus"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="each way reads all files so often; the median counts")
    parser.add_argument("--object-info", type=Path, help="a saved /object_info; without it the host is started for it")
    parser.add_argument("--profile", action="store_true", help="print where this package's time goes, instead")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # sd-parsers logs what it can't read
    warnings.simplefilter("ignore")
    definitions = object_info(options.object_info)
    from diffusion_toolkit.embedders.metadata import read_metadata

    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-bench-") as scratch:
        files, kinds = _gather(Path(scratch), options.files)
        size = sum(file.stat().st_size for file in files)
        print(f"{machine()}\n{len(files)} files, {size / 1e6:.0f} MB ({size / len(files) / 1e3:.0f} kB each): {kinds}\n")
        ways = {
            "`Image.open` alone": _opened,
            "`read_metadata`, as Index Folder calls it": lambda file: read_metadata(file, definitions=definitions),
            "`read_metadata`, no ComfyUI at hand": read_metadata,
            "sd-parsers 0.6": _sd_parsers(),
        }
        for read in ways.values():
            _all(files, read)  # the first round loads code and fills the file cache
        if options.profile:
            print(_profile(lambda: _all(files, ways["`read_metadata`, as Index Folder calls it"])))
            return
        rounds: dict[str, list[Timed]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, read in ways.items():
                rounds[name].append(timed(name, lambda read=read: _all(files, read)))
        found = {name: sum(_has_prompt(read(file)) for file in files) for name, read in ways.items() if read is not _opened}
    print(_table(rounds, found))
    print("The file cache is warm: what is compared is work, not the disk.")


def _table(rounds: dict[str, list[Timed]], found: dict[str, int]) -> str:
    rates = {name: statistics.median(way.rate for way in ways) for name, ways in rounds.items()}
    least, *others = rates
    lines = [
        "| way | files/s (median) | slowest and fastest round | times `Image.open` | files with a prompt |",
        "|---|---|---|---|---|",
    ]
    for name, ways in rounds.items():
        span = f"{min(way.rate for way in ways):.0f}-{max(way.rate for way in ways):.0f}"
        lines.append(f"| {name} | {rates[name]:.0f} | {span} | {rates[name] / rates[least]:.2f} | {found.get(name, '')} |")
    ours, *_, theirs = others
    return "\n".join([*lines, f"\nOurs to sd-parsers: {rates[ours] / rates[theirs]:.2f} times as fast."])


def _all(files: list[Path], read: Callable[[Path], object]) -> int:
    for file in files:
        read(file)
    return len(files)


def _opened(file: Path) -> None:
    from PIL import Image

    with Image.open(file):
        pass


def _sd_parsers() -> Callable[[Path], object]:
    from sd_parsers import ParserManager

    manager = ParserManager()

    def read(file: Path) -> object:
        try:
            return manager.parse(file)
        except Exception:  # noqa: BLE001 - it raises on some files; that is its answer
            return None

    return read


def _has_prompt(found: object) -> bool:
    prompts = getattr(found, "prompts", None)  # sd-parsers'
    return bool(prompts) if prompts is not None else bool(getattr(found, "prompt", None))


def _gather(folder: Path, count: int) -> tuple[list[Path], str]:
    """Links to `count` files under names of their own, each file once before any twice; and how many of which kind."""
    sources = {
        "../shared/corpus": _in(CORPUS),
        "SaveImage's PNGs of template stills": _in(WRITTEN),
        "template media as shipped": list(_template_media()),
    }
    files: list[Path] = []
    counts: Counter[str] = Counter()
    turn = 0
    if not any(sources.values()):
        raise SystemExit("There is nothing to read: run python3 tests/demo.py once.")
    order = [(name, file) for name, found in sources.items() for file in found]
    while len(files) < count:
        name, file = order[turn % len(order)]
        link = folder / f"{turn:05}{file.suffix}"
        try:
            os.link(file, link)
        except OSError:  # another disk
            shutil.copyfile(file, link)
        files.append(link)
        counts[f"{name} {file.suffix}"] += 1
        turn += 1
    return files, ", ".join(f"{number} {name}" for name, number in counts.items())


def _in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES)


def _template_media() -> Iterator[Path]:
    from comfyui_workflow_templates_core import get_asset_path, iter_templates

    for template in iter_templates():
        for asset in template.assets:
            if Path(asset.filename).suffix.lower() in SUFFIXES:
                yield Path(get_asset_path(template.template_id, asset.filename))


def _profile(job: Callable[[], int]) -> str:
    profiler = cProfile.Profile()
    profiler.runcall(job)
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).sort_stats("cumulative").print_stats("embedders|PIL|json|read|open", 40)
    return out.getvalue()


if __name__ == "__main__":
    main()
