"""Libraries by name in a real ComfyUI: offered on the nodes, kept apart, and never shown with their connection strings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.client import PromptError
from host.node_graphs import index, node, search_by_prompt
from host.server import ComfyServer


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Iterator[str]:
    """The connection string of a database on a server of its own."""
    server = EmbeddedServer.start(tmp_path_factory.mktemp("work"))
    yield server.dsn("postgres")
    server.stop()


def write(file: Path, libraries: dict[str, str], mode: int = 0o600) -> None:
    file.write_text(json.dumps({"libraries": libraries}), encoding="utf-8")
    file.chmod(mode)


def offered(server) -> dict[str, list[str]]:
    """The names that each node with a library_name offers."""
    found = {}
    for name, info in server.object_info().items():
        if name.startswith("DiffusionToolkit"):
            for inputs in info["input"].values():
                if "library_name" in inputs:
                    found[name] = inputs["library_name"][1]["options"]
    return found


def test_every_node_offers_the_names(server, config, work):
    assert all(names == ["default"] for names in offered(server).values())
    write(config, {"work": work, "archive": "service=archive"})
    names = offered(server)
    assert len(names) >= 4 and all(names[node] == ["default", "archive", "work"] for node in names)


def test_what_is_indexed_into_one_library_is_in_no_other_and_nothing_shows_the_connection_string(server, config, work, pictures):
    write(config, {"work": work})
    prompt = "a walrus that plays the accordion"
    server.queue(index(pictures("named", 1, prompt=prompt), library_name="work"))
    server.queue(index(pictures("unnamed", 1)))
    found = server.queue(search_by_prompt(prompt, library_name="work", top_k=1)).outputs["search"]["hits"]
    assert [hit["prompt"] for hit in found] == [prompt]
    elsewhere = server.queue(search_by_prompt(prompt, top_k=1, lowest_score=-1.0)).outputs["search"]["hits"]
    assert [hit["prompt"] for hit in elsewhere] != [prompt]
    password = work.split("password=")[1].split()[0]
    for told in (server.log_text(), json.dumps(server.get("/history")), json.dumps(server.object_info())):
        assert password not in told and work not in told


def test_a_graph_of_another_library_starts_no_default_one_and_still_looks_again(work):
    """The nodes after Library Status still name 'default'; what is linked they know only when they run."""
    given = {"library_name": "default", "library": ["status", 0]}
    with ComfyServer() as fresh:
        (folder := fresh.user / "diffusion_toolkit").mkdir(parents=True)
        write(folder / "config.json", {"work": work})
        graph = {"status": node("DiffusionToolkitLibraryStatus", library_name="work")}
        graph["list"] = node("DiffusionToolkitListImages", order="newest", top_k=2, **given)
        for _ in range(2):
            assert "list" in fresh.queue(graph).executed
        assert [place.name for place in folder.iterdir()] == ["config.json"]


def test_a_linked_id_is_of_the_library_that_it_came_from(server, config, work, pictures):
    """The nodes after a search still name 'default', in which the same number is another image."""
    write(config, {"work": work})
    server.queue(index(pictures("linked", 1, prompt="a heron that reads the paper"), library_name="work"))
    server.queue(index(pictures("unlinked", 3)))
    graph = search_by_prompt("a heron that reads the paper", library_name="work", top_k=1)
    graph["loader"] = node("DiffusionToolkitLoader", image_id=["search", 4], library_name="default", vectors="both")
    graph["label"] = node(
        "DiffusionToolkitLabelImages", image_id=["search", 4], add_labels="heron", remove_labels="", namespace="", rating="as it is", library_name="default"
    )
    graph["query"] = node("DiffusionToolkitQueryByStoredImage", image_id=["loader", 4], by="its prompt", leave_out=True, library_name="default")
    graph["show"] = node("PreviewAny", source=["query", 0])
    done = server.queue(graph)
    [id_] = [hit["image_id"] for hit in done.outputs["search"]["hits"]]
    assert done.outputs["loader"]["text"][0].startswith(f"Image {id_} of 'work': a heron that reads the paper\n")
    assert "a heron that reads the paper" in done.outputs["query"]["text"][0]
    labelled = {"list": node("DiffusionToolkitListImages", order="newest", top_k=5, library_name="work", filter_text="label:heron")}
    assert [hit["image_id"] for hit in server.queue(labelled).outputs["list"]["hits"]] == [id_]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_with_a_password_that_others_may_read_is_refused_on_the_node(server, config, work):
    write(config, {"work": work}, 0o644)
    assert all(names == ["default", "work"] for names in offered(server).values())
    with pytest.raises(PromptError, match="other users of this computer may read.*chmod 600") as failure:
        server.queue(search_by_prompt("anything", library_name="work"))
    assert work.split("password=")[1].split()[0] not in str(failure.value.error)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_default_library_goes_on_beside_a_file_that_others_may_read(server, config, work, pictures):
    write(config, {"work": work}, 0o644)
    server.queue(index(pictures("beside", 1)))
    assert server.queue(search_by_prompt("a picture", top_k=1)).outputs["search"]["hits"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_without_a_password_may_be_read_by_others(server, config):
    write(config, {"work": "host=127.0.0.1 port=1 dbname=nothing"}, 0o644)
    with pytest.raises(PromptError, match="No PostgreSQL server answers.*in the library 'work' of config.json"):
        server.queue(search_by_prompt("anything", library_name="work"))


def test_a_name_that_is_no_longer_configured_is_refused(server, config):
    with pytest.raises(PromptError, match="work"):
        server.queue(search_by_prompt("anything", library_name="work"))
