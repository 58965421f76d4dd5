"""How the package behaves when ComfyUI starts, and what it says when something that it needs is missing."""

from __future__ import annotations

import ast
import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from host import bootstrap
from host.client import PromptError
from host.comfy_models import import_comfy
from host.embedded_peers import postmaster
from host.node_graphs import index, search_by_prompt
from host.server import ComfyServer

PAGES = bootstrap.REPOSITORY / "web" / "docs"
IDS = {page.stem for page in PAGES.glob("DiffusionToolkit*.md")}  # one help page for each node


@pytest.fixture(scope="module")
def nodes(server) -> dict[str, dict]:
    return {name: info for name, info in server.object_info().items() if name.startswith("DiffusionToolkit")}


def test_all_nodes_are_there_and_nothing_is_warned_of_at_start(server, nodes):
    assert set(nodes) == IDS
    start, _, _ = server.log_text().partition("To see the GUI go to")
    assert [line for line in start.splitlines() if re.search(r"WARN|ERROR|Traceback|IMPORT FAILED", line)] == []


def test_every_node_input_and_output_is_explained(nodes):
    for name, info in nodes.items():
        assert info["category"].split("/")[0] == "DiffusionToolkit"
        assert info["description"] and info["search_aliases"], name
        for inputs in (info["input"].get("required", {}), info["input"].get("optional", {})):
            for input_name, (_, options) in inputs.items():
                assert options.get("tooltip"), f"{name}.{input_name}"
        assert all(info["output_tooltips"]) and len(info["output_tooltips"]) == len(info["output"]), name


def test_every_node_has_a_help_page_that_comfyui_serves(server, nodes):
    for name in nodes:
        page = server.get_bytes(f"/extensions/comfyui-diffusion-toolkit/docs/{name}.md").decode()
        assert page.startswith(f"# {nodes[name]['display_name']}\n")


def test_example_workflows_are_offered_as_templates_with_thumbnails(server):
    offered = server.get("/workflow_templates")["comfyui-diffusion-toolkit"]
    assert set(offered) == {path.stem for path in (bootstrap.REPOSITORY / "example_workflows").glob("*.json")}
    for name in offered:
        assert server.get_bytes(f"/api/workflow_templates/comfyui-diffusion-toolkit/{name}.jpg")[:2] == b"\xff\xd8"


def test_loading_the_package_imports_nothing_heavy():
    code = (
        "import sys, asyncio, importlib.util\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import comfy.options; from comfy.cli_args import args; args.cpu = True\n"
        "import comfy_api.v0_0_2\n"
        "before = set(sys.modules)\n"
        "spec = importlib.util.spec_from_file_location('pack', sys.argv[2] + '/__init__.py')\n"
        "pack = importlib.util.module_from_spec(spec); sys.modules['pack'] = pack; spec.loader.exec_module(pack)\n"
        "async def load():\n"
        "    extension = await pack.comfy_entrypoint()\n"
        "    return await extension.get_node_list()\n"
        f"assert len(asyncio.run(load())) == {len(IDS)}\n"
        "new = set(sys.modules) - before\n"
        "print(sorted({name.split('.')[0] for name in new}))\n"
    )
    run = [sys.executable, "-c", code, str(bootstrap.find_comfyui()), str(bootstrap.REPOSITORY)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout.strip().splitlines()[-1]) == ["pack"]


def test_without_a_dependency_comfyui_starts_and_the_node_says_what_to_install(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "psycopg.py").write_text("raise ImportError('libpq is not here', name='psycopg')\n", encoding="utf-8")
    with ComfyServer(env={"PYTHONPATH": str(broken)}) as server:
        assert IDS <= set(server.object_info())
        with pytest.raises(PromptError, match="(?s)can't import psycopg.*pip.*install.*requirements.txt") as failure:
            server.queue(index(clip=None, clip_vision=None, text_embedder=None))
    assert failure.value.error["node_type"] == "DiffusionToolkitIndexFolder"


@pytest.mark.skipif(os.name == "nt", reason="who may make links there is a setting")
def test_roots_that_cannot_be_used_keep_no_node_from_loading_and_are_told(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with ComfyServer(env={"DIFFUSION_TOOLKIT_ROOTS": str(loop)}) as server:
        assert IDS <= set(server.object_info())
        with pytest.raises(PromptError, match=f"{loop} does not exist"):
            server.queue(index(root="loop", clip=None, clip_vision=None, text_embedder=None))
        config = server.user / "diffusion_toolkit" / "config.json"
        config.write_text('{"roots": {"photos": "/photos\\u0000"}}', encoding="utf-8")
        assert IDS <= set(server.object_info())
        with pytest.raises(PromptError, match=r"The root '/photos\\x00' can't be used"):
            server.queue(index(clip=None, clip_vision=None, text_embedder=None))


def test_an_error_with_letters_that_the_console_lacks_is_told_and_the_next_prompt_runs():
    """As where ComfyUI's output is redirected on Windows: the traceback could not be written, which ended the thread that runs prompts."""
    nothing = {"clip": None, "clip_vision": None, "text_embedder": None}
    with ComfyServer(env={"PYTHONIOENCODING": "cp1252"}) as server:
        with pytest.raises(PromptError, match="There is no folder .Żółw. in"):
            server.queue(index("Żółw", **nothing), timeout=300)
        assert "There is no folder '\\u017b\xf3\\u0142w' in" in server.log_path.read_text(encoding="cp1252")
        assert "0 added" in server.queue(index(**nothing), timeout=300).outputs["index"]["text"][0]


def test_the_log_takes_any_letter_where_another_pack_stands_before_the_console(monkeypatch):
    import_comfy()
    from diffusion_toolkit.nodes import extension

    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    handler = logging.StreamHandler(console)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler(), handler])
    monkeypatch.setattr(sys, "stderr", object())
    monkeypatch.setattr(sys, "stdout", None)
    extension._write_any_letter()
    logging.error("Żółw")
    console.flush()
    assert console.buffer.getvalue().strip() == b"\\u017b\xf3\\u0142w"


def test_an_unreachable_database_is_a_message_on_the_node_without_its_secrets():
    dsn = "postgresql://someone:hunter2secret@127.0.0.1:1/images"
    with ComfyServer(env={"DIFFUSION_TOOLKIT_DSN": dsn}) as server:
        with pytest.raises(PromptError, match="DIFFUSION_TOOLKIT_DSN") as failure:
            server.queue(index(clip=None, clip_vision=None, text_embedder=None))
        everything = str(failure.value.error) + server.log_text() + str(server.get("/history"))
    assert failure.value.error["node_type"] == "DiffusionToolkitIndexFolder"
    assert "hunter2secret" not in everything


def test_a_database_that_was_killed_between_two_prompts_comes_back(server, pictures):
    server.queue(index(pictures("survivor", 1, prompt="a lonely survivor on an island")))
    killed = postmaster(Path(server.user, "diffusion_toolkit", "library"))
    backends = killed.children()
    killed.kill()
    psutil.wait_procs([killed, *backends], 30)  # these notice it, and end, by themselves
    result = server.queue(search_by_prompt("island", top_k=1, lowest_score=-0.99))
    assert result.outputs["search"]["hits"][0]["prompt"] == "a lonely survivor on an island"
