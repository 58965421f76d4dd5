"""The HTTP routes in a real ComfyUI: the same answers as the nodes', and clear refusals of what can't be answered."""

from __future__ import annotations

import functools
import io
import json
from typing import Any

import pytest
from host.comfy_models import import_comfy
from host.http import Answer, form, png, request
from host.node_graphs import index, node, search_by_prompt
from host.stand_in_models import write_description_file
from PIL import Image

SEARCH = "/diffusion_toolkit/search"
IMAGES = "/diffusion_toolkit/images"
HERE = "folder:http"  # the library holds other tests' pictures too, other sharks among them


@pytest.fixture(scope="module")
def ask(server):
    """Sends one request as curl would, without a browser's headers unless given."""
    return functools.partial(request, server.url)


@pytest.fixture(scope="module")
def search(ask):
    """POST a search of these parts; `options` are the question's other fields."""

    def post(*parts: dict[str, Any], **options: Any) -> Answer:
        return ask("POST", SEARCH, json={"parts": list(parts), **options})

    return post


_hits: list[dict] = []


@pytest.fixture
def animals(server, pictures) -> list[dict]:
    """Three indexed pictures; the node's hits for a shark. Once for all tests here, which add no better ones."""
    if _hits:
        return _hits
    for i, prompt in enumerate(["a grey shark swimming in the ocean", "a loaf of rye bread on a table", "a marble statue of a god"]):
        pictures(f"http/{i}", 1, prompt=prompt, negative="low quality")
    server.queue(index("http"))
    found = server.queue(search_by_prompt("a shark in the sea", top_k=3, filter_text=HERE))
    _hits.extend(found.outputs["search"]["hits"])
    return _hits


def test_a_search_by_words_gives_the_nodes_hits(search, animals):
    answer = search({"kind": "prompt", "text": "a shark in the sea"}, k=3, filter=HERE)
    assert answer.status == 200
    hits = answer.json["hits"]
    assert [hit["image_id"] for hit in hits] == [hit["image_id"] for hit in animals]
    assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in animals], abs=1e-3)
    assert hits[0]["prompt"] == "a grey shark swimming in the ocean" and hits[0]["width"] == 64
    assert answer.json["question"] == "'a shark in the sea'" and answer.json["method"]


def test_a_search_over_the_whole_library_gives_the_nodes_hits(server, search, animals):
    node_hits = server.queue(search_by_prompt("a shark in the sea", top_k=3)).outputs["search"]["hits"]
    hits = search({"kind": "prompt", "text": "a shark in the sea"}, k=3).json["hits"]
    assert [hit["image_id"] for hit in hits] == [hit["image_id"] for hit in node_hits]


def test_a_search_without_hits_says_why(search, animals):
    answer = search({"kind": "prompt", "text": "a shark in the sea"}, filter="folder:http steps:999")
    assert answer.status == 200 and answer.json["hits"] == []
    assert "pass the filter (folder:http steps:999). No image has steps:999; the " in answer.json["note"]


def test_a_hit_says_whether_its_date_is_its_own(search, animals):
    [hit] = search({"kind": "prompt", "text": "a shark in the sea"}, k=1, filter=HERE).json["hits"]
    assert hit["created"] and hit["created_own"] is False  # ComfyUI writes no date into its PNGs


def test_the_same_route_is_there_below_api(ask, animals):
    question = {"parts": [{"kind": "prompt", "text": "a shark in the sea"}], "k": 1, "filter": HERE}
    assert ask("POST", "/api" + SEARCH, json=question).json["hits"][0]["image_id"] == animals[0]["image_id"]


def test_a_search_by_a_stored_image_needs_no_model_and_leaves_that_image_out(search, animals):
    image_id = animals[0]["image_id"]
    for kind in ("prompt", "negative", "image", "clip_l", "clip_g"):
        answer = search({"kind": kind, "id": image_id}, k=5)
        assert answer.status == 200, answer.body
        assert answer.json["hits"] and image_id not in [hit["image_id"] for hit in answer.json["hits"]]


def test_a_search_by_a_vector_that_embed_made(ask, search, animals):
    made = ask("POST", "/diffusion_toolkit/embed/text", json={"texts": ["a shark in the sea", "bread"]}).json
    assert (made["dims"], made["kinds"], len(made["vectors"])) == (1024, ["prompt", "negative"], 2)
    hits = search({"kind": "prompt", "vector": made["vectors"][0]}, k=3, filter=HERE).json["hits"]
    assert [hit["image_id"] for hit in hits] == [hit["image_id"] for hit in animals]


def test_a_mix_with_negative_weights_pages_and_is_explained(search, animals):
    parts = ({"kind": "prompt", "text": "a shark"}, {"kind": "image", "id": animals[1]["image_id"], "weight": -0.5})
    whole = search(*parts, k=4).json
    assert whole["question"].startswith("'a shark' - 0.5 x the picture of image")
    for hit in whole["hits"]:
        assert hit["score"] == pytest.approx(sum(part["weight"] * (part["cosine"] or 0) for part in hit["parts"]), abs=2e-3)
    pages = [search(*parts, k=2, offset=offset).json["hits"] for offset in (0, 2)]
    assert [hit["image_id"] for hit in pages[0] + pages[1]] == [hit["image_id"] for hit in whole["hits"]]


def test_filters_are_the_nodes_filters(search, animals):
    found = search({"kind": "prompt", "text": "a shark"}, filter='prompt:"marble statue" folder:http').json["hits"]
    assert found and {hit["prompt"] for hit in found} == {"a marble statue of a god"}
    status, kind, message = search({"kind": "prompt", "text": "a shark"}, filter="steps:((").refusal
    assert (status, kind) == (400, "filter") and "character" in message


def test_a_search_by_description_loads_the_text_half_by_itself(server, ask, search, animals):
    import_comfy()
    file = server.models / "clip_vision" / "both.safetensors"
    file.parent.mkdir(exist_ok=True)
    write_description_file(file, 0)
    made = ask("POST", "/diffusion_toolkit/embed/description", json={"texts": ["a red square"]})
    assert made.status == 200, made.body
    by_words = search({"kind": "image", "description": "a red square"}, k=3).json["hits"]
    by_vector = search({"kind": "image", "vector": made.json["vectors"][0]}, k=3).json["hits"]
    assert [hit["image_id"] for hit in by_words] == [hit["image_id"] for hit in by_vector]


def test_a_model_that_no_file_holds_is_a_clear_refusal(ask, search, animals):
    uploaded = ask("POST", SEARCH, data=form({"parts": [{"kind": "image", "upload": "picture"}]}, picture=png()))
    status, kind, message = uploaded.refusal
    assert (status, kind) == (409, "model_not_found")
    assert "No file in models/clip_vision is the model that made the library's vectors" in message and "send a vector" in message
    assert search({"kind": "clip_g", "text": "oil painting"}).refusal[:2] == (409, "model_not_found")
    assert search({"kind": "clip_g", "text": "oil painting"}, filter="steps:((").refusal[:2] == (400, "filter")  # asked before any model


def test_a_misspelt_folder_to_leave_out_is_told_beside_the_hits(search, animals):
    answer = search({"kind": "image", "id": animals[0]["image_id"]}, k=2, filter=f"{HERE} -folder:htpp").json
    assert len(answer["hits"]) == 2
    assert answer["note"] == "-folder:htpp leaves nothing out. No file lies in the folder 'htpp'. Did you mean 'http'?"


def test_images_are_listed_by_filter_alone_in_pages(ask, server, animals):
    listing = node("DiffusionToolkitListImages", order="oldest", top_k=3, library_name="default", filter_text=HERE)
    ids = [record["image_id"] for record in server.queue({"list": listing}).outputs["list"]["hits"]]
    asked = f"{IMAGES}?filter={HERE}&order=oldest&k=2"
    first, second = ask("GET", asked).json, ask("GET", f"{asked}&offset=2").json
    assert [image["image_id"] for image in first["images"] + second["images"]] == ids and len(ids) == 3
    assert (first["library"], first["total"], first["note"]) == ("default", 3, "")
    own = {"path"}  # of a list, where an image may have several files
    for image in first["images"]:
        whole = ask("GET", f"{IMAGES}/{image['image_id']}").json
        assert {name: value for name, value in image.items() if name not in own} == {name: whole[name] for name in image if name not in own}
        assert image["path"] == whole["file"]
    schema = ask("GET", "/diffusion_toolkit/openapi.json").json["components"]["schemas"]["Images"]["properties"]["images"]["items"]
    assert set(schema["required"]) == set(first["images"][0])


def test_a_list_of_nothing_says_why(ask, animals):
    listed = ask("GET", f"{IMAGES}?filter=folder:htpp").json
    assert (listed["images"], listed["total"]) == ([], 0)
    assert "No file lies in the folder 'htpp'. Did you mean 'http'?" in listed["note"]
    assert ask("GET", f"{IMAGES}?filter=steps:((").refusal[:2] == (400, "filter")
    together = ask("GET", f"{IMAGES}?filter=folder:http+shark+bread").json
    assert (together["total"], together["note"]) == (0, "There are no images that pass folder:http shark bread. Loosen the filter.")
    beyond = ask("GET", f"{IMAGES}?filter={HERE}&offset=500").json
    assert (beyond["total"], beyond["images"]) == (3, [])
    assert beyond["note"] == "Of 3 images that pass folder:http none is after the first 500. Lower offset."


def test_the_image_of_an_id_and_its_seed_as_text(ask, animals):
    image = ask("GET", f"{IMAGES}/{animals[0]['image_id']}").json
    assert image["prompt"] == "a grey shark swimming in the ocean" and image["seed"] == str(2**64 - 1)
    assert image["file"].endswith("0000.png") and image["note"] == ""


def test_a_hit_tells_what_made_its_image_as_the_image_itself_does(ask, search, animals):
    [hit] = search({"kind": "prompt", "text": "a shark in the sea"}, k=1, filter=HERE).json["hits"]
    assert (hit["seed"], hit["steps"], hit["cfg"], hit["sampler"], hit["scheduler"]) == (str(2**64 - 1), 12, 6.5, "dpmpp_2m", "karras")
    assert (hit["checkpoint"], hit["negative_prompt"], hit["width"]) == ("made_with.safetensors", "low quality", 64)
    image = ask("GET", f"{IMAGES}/{hit['image_id']}").json
    own = {"rank", "score", "percentile", "recency", "path", "parts"}  # the hit's, not the image's
    assert {name: value for name, value in hit.items() if name not in own} == {name: image[name] for name in hit if name not in own}
    schema = ask("GET", "/diffusion_toolkit/openapi.json").json["components"]["schemas"]["Answer"]["properties"]["hits"]["items"]
    assert set(schema["required"]) == set(hit)


def test_pictures_are_embedded_without_a_question(ask, animals):
    answer = ask("POST", "/diffusion_toolkit/embed/image", data=form(None, picture=png()))
    assert answer.refusal[1] != "form", answer.body  # what is said is the model's, which this ComfyUI may lack
    assert "takes texts" in ask("POST", "/diffusion_toolkit/embed/text", data=form(None, picture=png())).refusal[2]


def test_labels_and_rating_are_changed_and_found_by_filter(ask, search, animals):
    path = f"{IMAGES}/{animals[0]['image_id']}"
    assert ask("POST", path, json={"add_labels": ["Sea", "sharp"], "rating": 4}).json["labels"] == ["sea", "sharp"]
    changed = ask("POST", path, json={"remove_labels": ["sharp"]}).json
    assert (changed["labels"], changed["rating"]) == (["sea"], 4)
    found = search({"kind": "prompt", "text": "anything"}, filter="label:sea rating:>=4").json["hits"]
    assert [hit["image_id"] for hit in found] == [animals[0]["image_id"]]
    assert ask("POST", path, json={"rating": None, "remove_labels": ["sea"]}).json["rating"] is None


def test_a_thumbnail_is_a_small_webp_that_is_sent_once(ask, animals):
    path = f"{IMAGES}/{animals[0]['image_id']}/thumbnail?size=32"
    first = ask("GET", path)
    assert (first.status, first.headers["Content-Type"]) == (200, "image/webp")
    assert Image.open(io.BytesIO(first.body)).size == (32, 24)
    for known in (first.headers["ETag"], f'"another", W/{first.headers["ETag"]}'):  # weak, as a proxy that packs answers makes it
        again = ask("GET", path, headers={"If-None-Match": known})
        assert (again.status, again.body) == (304, b"")


def test_the_file_of_an_id_is_the_file(ask, server, animals):
    answer = ask("GET", f"{IMAGES}/{animals[0]['image_id']}/file")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")
    assert answer.body == (server.output / "http" / "0" / "0000.png").read_bytes()


def test_a_file_of_every_kind_that_is_indexed_says_what_it_is(ask, server, tmp_path):
    folder = server.output / "http-kinds"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder / "a.dib", "DIB")
    server.queue(index("http-kinds", clip=None, clip_vision=None, text_embedder=None))
    [listed] = ask("GET", f"{IMAGES}?filter=folder:http-kinds").json["images"]
    answer = ask("GET", f"{IMAGES}/{listed['image_id']}/file")
    assert (answer.status, answer.headers["Content-Type"], answer.headers["X-Content-Type-Options"]) == (200, "image/bmp", "nosniff")


def test_a_file_that_is_gone_is_a_404_that_says_so(ask, server, search, pictures):
    pictures("http-gone", 1, prompt="a zebra crossing at dawn")
    server.queue(index("http-gone"))
    [hit] = search({"kind": "prompt", "text": "a zebra crossing at dawn"}, k=1).json["hits"]
    (server.output / "http-gone" / "0000.png").unlink()
    for what in ("thumbnail", "file"):
        status, kind, message = ask("GET", f"{IMAGES}/{hit['image_id']}/{what}").refusal
        assert (status, kind) == (404, "file") and "the file is gone" in message
    assert ask("GET", f"{IMAGES}/{hit['image_id']}").json["note"] == "the file is gone"


def test_the_openapi_document_describes_every_route(ask):
    document = ask("GET", "/diffusion_toolkit/openapi.json").json
    assert document["openapi"].startswith("3.1")
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    base = "/diffusion_toolkit"
    assert operations == {
        ("get", f"{base}/libraries"), ("get", f"{base}/status"), ("post", f"{base}/search"), ("post", f"{base}/embed/{{model}}"),
        ("get", f"{base}/images"), ("get", f"{base}/images/{{id}}"), ("post", f"{base}/images/{{id}}"), ("get", f"{base}/images/{{id}}/thumbnail"),
        ("get", f"{base}/images/{{id}}/file"),
    }  # fmt: skip
    assert {parameter["name"] for parameter in document["paths"][f"{base}/images"]["get"]["parameters"]} == {"library", "filter", "order", "k", "offset"}
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
    assert schemas["Search"]["additionalProperties"] is False and schemas["Part"]["properties"]["vector"]


def test_libraries_are_listed(ask):
    assert ask("GET", "/diffusion_toolkit/libraries").json == {"libraries": ["default"]}
