"""Fuzz the tracer and the readers with atheris, guided by coverage; started by hand, for minutes or hours.

atheris has wheels for CPython 3.11 to 3.13 on Linux; use an environment of its own:

    python3.11 -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris hypothesis pillow numpy defusedxml
    /tmp/fuzz/bin/python tests/fuzz/fuzz_reader.py trace|interpret|graphs|file|bytes|readable -max_total_time=300 [libFuzzer's options]

Each target is a property test of tests/unit/test_hostile_properties.py, whose strategies turn atheris's bytes into graphs,
workflows and files; but `bytes`, which gives them to the reader as they are, and wants a corpus folder (`--seeds DIR` writes one).
A finding is printed with the drawn values; make it a case of test_hostile.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.setrecursionlimit(1000)  # libFuzzer's frames count; the readers shall get along with Python's own limit

with atheris.instrument_imports(include=["diffusion_toolkit"]):
    from host.package import load_package

    load_package()
    import diffusion_toolkit.embedders.metadata
    import diffusion_toolkit.embedders.workflow

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit"))
import test_hostile_properties as properties

TARGETS = {
    "trace": properties.test_any_json_is_traced_or_a_value_error,
    "interpret": properties.test_any_pieces_are_interpreted,
    "graphs": properties.test_any_graphs_are_interpreted,
    "file": properties.test_any_bytes_are_read,
    "readable": properties.test_any_workflow_is_read_or_a_value_error,
}


def read_bytes(content: bytes) -> None:
    properties.assert_sound(diffusion_toolkit.embedders.metadata.read_metadata(content, path=Path("a.png")))


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "--seeds":
        from host.sound_files import sound_files

        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in sound_files().items():
            (folder / name).write_bytes(content)
        return
    if len(sys.argv) < 2 or sys.argv[1] not in (*TARGETS, "bytes"):
        sys.exit(__doc__)
    target = sys.argv.pop(1)
    atheris.Setup(sys.argv, read_bytes if target == "bytes" else TARGETS[target].hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
