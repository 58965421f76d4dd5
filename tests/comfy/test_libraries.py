"""Libraries by name in a real ComfyUI: offered on the nodes, kept apart, and never shown with their connection strings."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.client import PromptError, PromptInterrupted
from host.http import requests
from host.node_graphs import index, node, search_by_prompt
from host.picture_graphs import fill, recall
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
        graph = {"list": node("DiffusionToolkitListImages", order="newest", top_k=2, library_name="work", filter_text="label:nothing")}
        graph["loader"] = node("DiffusionToolkitLoader", image_id=0, hits=["list", 12], library_name="default", vectors="both")
        graph |= {**fill(""), **recall("")}
        for name in ("fill", "recall"):
            graph[name]["inputs"]["hits"] = ["list", 12]
        with pytest.raises(PromptError, match="There are no images that pass label:nothing"):
            fresh.queue(graph)
        assert [place.name for place in folder.iterdir()] == ["config.json"]


def test_what_follows_hits_runs_again_where_their_library_has_changed(server, config, work, pictures):
    """Its own fingerprint tells nothing of that library: the search's does."""
    write(config, {"work": work})
    server.queue(index(pictures("followed", 1), library_name="work"))
    graph = {"list": node("DiffusionToolkitListImages", order="newest", top_k=1, library_name="work", filter_text="folder:followed")}
    graph["pick"] = node("DiffusionToolkitPickHit", hits=["list", 12], pick=1)
    graph["loader"] = node("DiffusionToolkitLoader", image_id=0, hits=["pick", 12], library_name="default", vectors="both")
    graph["show"] = node("PreviewAny", source=["loader", 2])
    assert "loader" in server.queue(graph).executed
    assert "loader" not in server.queue(graph).executed
    assert "loader" in server.queue({**index(pictures("followed-too", 1), library_name="work"), **graph}).cached
    assert "loader" in server.queue(graph).executed


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


class Silent:
    """A server that accepts whoever comes and says nothing: its connection string, and how many came. `when_asked` is called of each."""

    def __init__(self) -> None:
        self._socket, self._kept = socket.create_server(("127.0.0.1", 0)), []
        self.asked, self.when_asked = 0, lambda: None
        self.dsn = f"host=127.0.0.1 port={self._socket.getsockname()[1]} connect_timeout=3"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                self._kept.append(self._socket.accept()[0])
                self.asked += 1
                self.when_asked()
        except OSError:  # closed
            pass

    def close(self) -> None:
        for one in [self._socket, *self._kept]:
            one.close()


@pytest.fixture
def silent(config) -> Iterator[tuple[Silent, Silent]]:
    """Two such servers, of the libraries `far` and `farther`."""
    made = Silent(), Silent()
    write(config, {"far": made[0].dsn, "farther": made[1].dsn})
    yield made
    for one in made:
        one.close()


def lists_of(*libraries: str) -> dict[str, dict]:
    return {
        f"list {number}": node("DiffusionToolkitListImages", order="newest", top_k=number + 1, library_name=name) for number, name in enumerate(libraries)
    }


def test_searches_of_a_server_that_says_nothing_wait_for_it_once_and_let_others_through(server, silent):
    images = "/diffusion_toolkit/images"
    answers = requests(server.url, [*[("GET", f"{images}?library=far", {})] * 6, ("GET", f"{images}?k=1", {})])
    assert [answer.status for answer in answers] == [503] * 6 + [200]
    assert silent[0].asked == 1
    assert sum("it is asked anew after 5 s" in answer.refusal[2] for answer in answers[:6]) == 5


def test_the_nodes_of_a_prompt_wait_once_for_a_server_that_says_nothing(server, silent):
    with pytest.raises(PromptError, match="said nothing in the time that there is for connecting"):
        server.queue(lists_of(*["far"] * 6))
    assert silent[0].asked == 1


def test_a_cancel_is_heard_before_the_next_server_that_says_nothing_is_asked(server, silent):
    for one in silent:
        one.when_asked = server.interrupt
    with pytest.raises(PromptInterrupted):
        server.queue(lists_of("far", "farther"))
    assert sum(one.asked for one in silent) == 1
    server.queue(lists_of("default"))  # the queue goes on
