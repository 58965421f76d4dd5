"""The main job: index images with the shipped workflows in a real ComfyUI, find them again, and condition SDXL from them."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    HERE = Path(__file__).resolve().parent  # in the place of host/ its parent, for `host`; ComfyUI's portable Python has neither
    sys.path[:] = [str(HERE.parent), *(place for place in sys.path if Path(place).resolve() != HERE)]

from host import bootstrap, stand_in
from host.client import ComfyError, PromptError, PromptResult
from host.contact_sheet import Row, write_contact_sheet
from host.demo_options import parse_arguments
from host.demo_report import hit_lines, index_table, shell_lines
from host.package import load_package
from host.progress import Progress
from host.server import ComfyServer, has_accelerator
from host.template_images import write_template_images

WORKFLOWS = bootstrap.REPOSITORY / "example_workflows"
RUN = ("condition_from_memory", "index_folder", "search_by_image", "search_by_prompt")
TEMPLATE_FOLDER = "template-images"
OWN_ROOT = "your folder"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")  # which ComfyUI knows by their content, whatever they are called
EXAMPLE = "example.png"  # as ComfyUI's own is called, which the example workflows load
STAND_INS = Path(__file__).with_name("stand_in_loaders.py")


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves through __exit__: ComfyUI stops too
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a prompt may hold letters that a console lacks
    try:
        return _Demo(options).run()
    except (ComfyError, bootstrap.SetupError) as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nCancelled. What was indexed so far is kept; running the command again goes on from there.", file=sys.stderr)
        return 130


class _Demo:
    """One run: its options, its ComfyUI, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        # A library of its own for each folder, kept, so that a second run reads only what changed.
        name = "demo" if options.folder is None else f"demo-{hashlib.sha256(str(options.folder).encode()).hexdigest()[:10]}"
        self.base = bootstrap.CACHE / name
        # A library that the person configured (DIFFUSION_TOOLKIT_DSN) is theirs to use here.
        env = {key: value for key, value in os.environ.items() if key.startswith("DIFFUSION_TOOLKIT_")}
        self.server = ComfyServer(base=self.base, env=env)
        self.object_info: dict[str, Any] = {}
        self.rows: list[Row] = []

    def run(self) -> int:
        load_package()
        self._check_folder()
        self._configure_root()
        started = time.monotonic()
        print(f"Starting ComfyUI from {self.server.comfyui}")
        with self.server:
            print(f"  it answers at {self.server.url} after {time.monotonic() - started:.0f} s; its log: {self.server.log_path}")
            self.object_info = self.server.object_info()
            if "DiffusionToolkitIndexFolder" not in self.object_info:
                problems = "\n".join(self.server.log_problems()[-10:])
                raise ComfyError(f"this package did not load in ComfyUI (see {self.server.log_path}):\n{problems}")
            root, subfolder = self._images()
            prompts = self._prompts()
            self._index(prompts["index_folder"], root, subfolder)
            self._search(prompts["search_by_prompt"], prompts["search_by_image"])
            self._condition(prompts["condition_from_memory"])
            sheet = write_contact_sheet(
                self.rows, "What the library found (stand-in models, see the README)" if self.notes else "What the library found",
                self.base / "contact_sheet.png",
            )  # fmt: skip
            print(f"\nContact sheet: {sheet}\n")
            loaders = STAND_INS if {"StandInCheckpoint", "StandInCLIPVision"} <= _types(prompts["index_folder"]) else None
            images = self.options.folder or self.server.output / TEMPLATE_FOLDER
            print(shell_lines(Path(sys.executable), bootstrap.REPOSITORY, self.server.comfyui, self.base, images, loaders), flush=True)
            if self.options.keep_running:
                self._keep_running()
        return 0

    def _check_folder(self) -> None:
        """Before ComfyUI is started, which takes half a minute."""
        from diffusion_toolkit.embedders.folders.scan import Scan

        if self.options.folder is not None and next(iter(Scan(self.options.folder).files()), None) is None:
            raise ComfyError(f"there is no image in {self.options.folder} (PNG, JPEG, WebP and others that the README names): name another")

    def _configure_root(self) -> None:
        """Name the person's folder to ComfyUI by file rather than DIFFUSION_TOOLKIT_ROOTS: any path fits in, a ':' or '=' too."""
        config = self.base / "user" / "diffusion_toolkit" / "config.json"
        config.unlink(missing_ok=True)
        if self.options.folder is not None:
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text(json.dumps({"roots": {OWN_ROOT: str(self.options.folder)}}), encoding="utf-8")

    def _images(self) -> tuple[str, str]:
        """The root and sub-folder to index."""
        if self.options.folder is not None:
            print(f"Images: {self.options.folder}")
            return OWN_ROOT, ""
        print("Images: the stills of ComfyUI's own templates")
        with Progress("writing them as PNGs with metadata"):
            made = write_template_images(self.server.output / TEMPLATE_FOLDER, self.object_info)
        print(f"  {made.images} images, {made.with_prompt} with a prompt, in {self.server.output / TEMPLATE_FOLDER}")
        return "output", TEMPLATE_FOLDER

    def _prompts(self) -> dict[str, dict[str, Any]]:
        """The shipped workflows in API format, with stand-ins for models that are not there, said loudly."""
        from diffusion_toolkit.embedders.workflow import to_api

        prompts, notes = {}, []
        for name in RUN:
            workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
            prompts[name], said = stand_in.prepare(self.server, to_api(workflow, self.object_info), self.object_info)
            notes += said
        self.notes = list(dict.fromkeys(notes))
        if self.notes:
            print("Models: !!! STAND-INS take the place of model files that are not here !!!")
            print("\n".join("  " + note.replace("\n", "\n  ") for note in self.notes))
            print(
                "  With random weights a ranking of pictures means little beyond near-identical ones; that of prompts means something."
            )
        else:
            print("Models: all found.")
        return prompts

    def _index(self, prompt: dict[str, Any], root: str, subfolder: str) -> None:
        node_id = _set(prompt, "DiffusionToolkitIndexFolder", root=root, subfolder=subfolder)
        print("Indexing (workflow example_workflows/index_folder.json)")
        result = self._queue("index", prompt, timeout=24 * 3600)
        summary = result.outputs[node_id]["summary"][0]
        print(index_table(summary))
        if not summary["images"]:
            raise ComfyError("there is no image that could be read in that folder: name another")

    def _search(self, by_prompt: dict[str, Any], by_image: dict[str, Any]) -> None:
        print("Searching (search_by_prompt.json, search_by_image.json)")
        for query in self.options.query:
            node_id = _set(by_prompt, "DiffusionToolkitSearchByPrompt", query=query, top_k=self.options.top_k, lowest_score=-1.0)
            hits = self._hits(f"search '{query}'", by_prompt, node_id)
            self.rows.append(Row("Search by Prompt", query, None, hits))
        picture = self._query_picture()
        if picture is not None:
            shutil.copyfile(picture, self.server.input / EXAMPLE)
            _set(by_image, "LoadImage", image=EXAMPLE)
            node_id = _set(by_image, "DiffusionToolkitSearchByImage", top_k=self.options.top_k, lowest_score=-1.0)
            hits = self._hits(f"search by {picture.name}", by_image, node_id)
            self.rows.append(Row("Search by Image", picture.name, picture, hits))
        print()
        print("\n\n".join(hit_lines(row.asked, row.text, row.hits) for row in self.rows))

    def _query_picture(self) -> Path | None:
        """The best hit so far whose file is there, else any image of the folder."""
        hits = (Path(hit["path"]) for row in self.rows for hit in row.hits if hit.get("path"))
        files = chain(hits, (self.options.folder or self.server.output / TEMPLATE_FOLDER).rglob("*"))
        return next((file for file in files if file.suffix.lower() in PICTURES and file.is_file()), None)

    def _condition(self, prompt: dict[str, Any]) -> None:
        print("\nConditioning SDXL from the library (condition_from_memory.json)")
        if not any(hit.get("prompt") for row in self.rows for hit in row.hits if row.picture is None):
            print("  left out: no image with a known prompt was found")
            return
        _set(prompt, "DiffusionToolkitSearchByPrompt", query=self.options.query[0])
        if self.notes or not has_accelerator():
            _set(prompt, "EmptyLatentImage", width=256, height=256)
            _set(prompt, "KSampler", steps=4)
            print("  at 256 x 256 in 4 steps, since there is a stand-in or no GPU")
        result = self._queue("generate", prompt, timeout=3600)
        for node_id, node in prompt.items():
            if node["class_type"] == "DiffusionToolkitLoader":
                print("    " + "\n    ".join("\n".join(result.outputs.get(node_id, {}).get("text", [])).splitlines()))
            if node["class_type"] == "DiffusionToolkitSaveImage":
                for image in result.outputs[node_id]["images"]:
                    print(f"    image: {self.server.output / image['subfolder'] / image['filename']}")

    def _hits(self, label: str, prompt: dict[str, Any], node_id: str) -> list[dict[str, Any]]:
        try:
            return self._queue(label, prompt, timeout=600).outputs[node_id]["hits"]
        except PromptError as error:
            if error.error.get("exception_type") != "ExecutionBlocked":
                raise
            print(f"    {error.error.get('exception_message')}")
            return []

    def _queue(self, label: str, prompt: dict[str, Any], timeout: float) -> PromptResult:
        with Progress(label, prompt) as progress:
            return self.server.queue(prompt, on_event=progress.event, timeout=timeout)

    def _keep_running(self) -> None:
        print(f"\nComfyUI is running at {self.server.url} ; the workflows are under Templates, 'comfyui-diffusion-toolkit'.")
        if self.notes:
            print(f"They name the real model files: choose {stand_in.TEXT_EMBEDDER_NAME} in Load Text Embedder, and put the nodes whose")
            print("names begin with STAND-IN in the place of Load Checkpoint and Load CLIP Vision.")
        print("Ctrl-C ends it.", flush=True)
        try:
            while self.server.process is not None and self.server.process.poll() is None:
                time.sleep(0.5)
            print("ComfyUI has ended.")
        except KeyboardInterrupt:
            print("\nStopping ComfyUI.")


def _types(prompt: dict[str, Any]) -> set[str]:
    return {node["class_type"] for node in prompt.values()}


def _set(prompt: dict[str, Any], class_type: str, **inputs: Any) -> str:
    """Give the prompt's one node of that type other input values; returns its id."""
    matching = [id_ for id_, node in prompt.items() if node["class_type"] == class_type]
    if len(matching) != 1:
        raise ComfyError(f"an example workflow has {len(matching)} nodes of type {class_type}, 1 was expected")
    prompt[matching[0]]["inputs"].update(inputs)
    return matching[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
