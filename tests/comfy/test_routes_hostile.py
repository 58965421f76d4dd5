"""What the HTTP routes refuse, and that nothing that a client sends breaks them or gets at what it may not have."""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import json
import shutil
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.http import form, png, request, requests
from host.links import make_link
from host.node_graphs import index, search_by_prompt
from PIL import Image
from psycopg.conninfo import make_conninfo

SEARCH = "/diffusion_toolkit/search"
IMAGES = "/diffusion_toolkit/images"
WORDS = {"kind": "prompt", "text": "a kite"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def ask(server):
    return functools.partial(request, server.url)


_indexed: list[int] = []


@pytest.fixture
def image_id(server, pictures) -> int:
    """A picture that is indexed, once for all tests here."""
    if not _indexed:
        pictures("hostile", 2, prompt="a kite above the beach, number {i}")
        server.queue(index("hostile"))
        [hit] = server.queue(search_by_prompt("a kite above the beach, number 0", top_k=1)).outputs["search"]["hits"]
        _indexed.append(hit["image_id"])
    return _indexed[0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"parts": [{"kind": "prompt", "vector": [NaN]}]}', "parts.0.vector.0: Input should be a finite number"),
        (b'{"parts": [{"kind": "prompt", "vector": [1e999]}]}', "parts.0.vector.0: Input should be a finite number"),
        (b'{"parts": [{"kind": "prompt", "vector": ["1"]}]}', "parts.0.vector.0"),
        (b"[]", "Input should be"),
        (b"null", "Input should be"),
        (b"{}", "parts: Field required"),
        (b'{"parts": []}', "parts: List should have at least 1 item"),
        (b'{"parts": [{"kind": "prompt"}]}', "exactly one of"),
        (b'{"parts": [{"kind": "prompt", "text": "a", "id": 1}]}', "not text and id"),
        (b'{"parts": [{"kind": "image", "text": "a"}]}', "with 'description'"),
        (b'{"parts": [{"kind": "clip_l", "upload": "a"}]}', "its kind is 'image'"),
        (b'{"parts": [{"kind": "sound", "text": "a"}]}', "parts.0.kind"),
        (b'{"parts": [{"kind": "prompt", "text": " \\n "}]}', "parts.0.text: It is empty, or nothing but spaces."),
        (b'{"parts": [{"kind": "description", "text": "a"}]}', '{"kind": "image", "description": "a red boat"}'),
        (b'{"parts": [{"kind": "prompt", "id": 1, "weight": 0}]}', "every part has the weight 0"),
        (b'{"parts": [{"kind": "prompt", "id": 0}]}', "parts.0.id"),
        (b'{"parts": [{"kind": "prompt", "id": 9223372036854775808}]}', "parts.0.id"),
        (b'{"parts": [{"kind": "prompt", "id": true}]}', "parts.0.id"),
        (b'{"parts": [{"kind": "prompt", "id": 1, "weight": 1e9}]}', "parts.0.weight"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "k": 1000000000}', "k: Input should be less than or equal to 1000"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "k": 0}', "k: Input"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "k": "5"}', "k: Input"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "offset": -1}', "offset: Input"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "order": "random"}', "order: Input"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "dsn": "postgresql://"}', "dsn: There is no such field. The fields are: library, parts, k, offset"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "top_k": 5}', "top_k: There is no such field. Did you mean k?"),
        (b'{"parts": [{"kind": "prompt", "id": 1}], "lowest_scor": 0}', "Did you mean lowest_score?"),
        (b'{"parts": [{"kind": "prompt", "prompt": "a", "id": 1}]}', "parts.0.prompt: There is no such field. Did you mean text?"),
        (b'{"text": "a shark"}', "text: There is no such field. That is said in an entry of parts"),
    ],
)
def test_a_search_that_is_none_is_refused_with_the_place(ask, body, said):
    status, _, message = ask("POST", SEARCH, data=body, headers=JSON).refusal
    assert status == 400 and said in message


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("k=0", "greater than or equal to 1"),
        ("k=ten", "k: Input should be a valid integer"),
        ("offset=-1", "offset: "),
        ("order=last+index", 'Did you mean "last indexed"?'),
        ("top_k=5", "Did you mean k?"),
        ("filter=a&filter=b", "filter: "),
        ("library=%00", "library"),
    ],
)
def test_a_list_that_is_none_is_refused_with_the_place(ask, query, said):
    status, _, message = ask("GET", f"/diffusion_toolkit/images?{query}").refusal
    assert status in (400, 404) and said in message


def test_a_parameter_that_there_is_not_is_refused_by_every_route(ask):
    """Of those that it describes: a misspelt library would be the default one."""
    paths = ask("GET", "/diffusion_toolkit/openapi.json").json["paths"]
    for path, methods in [*paths.items(), ("/diffusion_toolkit/openapi.json", {"get": {"parameters": []}})]:
        for method, told in methods.items():
            known = [parameter["name"] for parameter in told["parameters"] if parameter["in"] == "query"]
            there_are = ", ".join(known) if known else "There are none here."
            said = ask(method.upper(), f"{path.format(id=1, model='text')}?librarry=nosuch", **({"json": {}} if method == "post" else {})).refusal
            assert said[:2] == (400, "invalid_request") and said[2].startswith("librarry: There is no such") and there_are in said[2], (method, path)


def test_nothing_is_changed_where_the_library_is_misspelt(ask, image_id):
    assert ask("POST", f"{IMAGES}/{image_id}?librarry=nosuch", json={"add_labels": ["oops"]}).status == 400
    assert ask("POST", f"{IMAGES}/{image_id}?library=default&library=nosuch", json={"add_labels": ["oops"]}).refusal[2].endswith("Give it once.")
    assert ask("GET", f"{IMAGES}/{image_id}").json["labels"] == []


@pytest.mark.parametrize("place", [SEARCH, "/diffusion_toolkit/embed/text"])
def test_the_library_of_a_search_stands_in_its_body(ask, place):
    body = {"parts": [WORDS]} if place == SEARCH else {"texts": ["a"]}
    message = ask("POST", f"{place}?library=nosuch", json=body).refusal[2]
    assert message == "library: There is no such parameter. There are none here. What is asked stands in the body, the library too."


def test_a_search_that_is_got_is_told_to_be_posted(ask):
    got = ask("GET", SEARCH)
    assert got.refusal == (405, "method", "A search is asked by POST, with JSON. GET /diffusion_toolkit/openapi.json describes it.")
    assert got.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("vector", "status", "said"),
    [
        ([1.0] * 5, 400, "has 5 numbers; the library's prompt vectors have 1024"),
        ([0.0] * 1024, 400, "without a direction"),
        ([1e308] * 1024, 400, "without a direction"),
        ([1e-30] * 1024, 200, ""),
        ([1] * 5000, 400, "at most 4000"),
    ],
)
def test_vectors_of_wrong_sizes_and_lengths(ask, image_id, vector, status, said):
    answer = ask("POST", SEARCH, json={"parts": [{"kind": "prompt", "vector": vector}]})
    assert answer.status == status and said in answer.body.decode()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", None])
def test_another_content_type_is_refused(ask, kind):
    headers = {"Content-Type": kind} if kind else {}
    assert ask("POST", SEARCH, data=b'{"parts": []}', headers=headers, skip_auto_headers=["Content-Type"]).status == 415


def test_a_body_that_is_too_large_is_refused_packed_or_not(ask):
    large = b'{"parts": "' + b"a" * (5 * 2**20) + b'"}'
    assert ask("POST", SEARCH, data=large, headers=JSON).refusal[:2] == (413, "too_large")
    packed = ask("POST", SEARCH, data=gzip.compress(large), headers={**JSON, "Content-Encoding": "gzip"})
    assert packed.status in (400, 413)
    question = {"parts": [{"kind": "image", "upload": "a" * (5 * 2**20)}]}
    assert ask("POST", SEARCH, data=form(question)).refusal[:2] == (413, "too_large")


def test_forms_that_lack_something_or_are_broken(ask, image_id):
    upload = {"parts": [{"kind": "image", "upload": "picture"}]}
    assert "no field 'question'" in ask("POST", SEARCH, data=form(None, picture=png())).refusal[2]
    assert "the form has no file 'picture'" in ask("POST", SEARCH, data=form(upload, other=png())).refusal[2]
    status, kind, message = ask("POST", SEARCH, data=form(upload, picture=b"<svg onload=alert(1)>")).refusal
    assert (status, kind) == (400, "image") and "The upload 'picture' is no picture that can be used: it is no PNG" in message
    for broken in (b"--b\r\n", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", b"nothing", b""):
        answer = ask("POST", SEARCH, data=broken, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert answer.refusal[:2] == (400, "form"), broken
    assert ask("POST", SEARCH, data=b"x", headers={"Content-Type": "multipart/form-data"}).refusal[:2] == (400, "form")
    many = {f"file{i}": b"x" for i in range(20)}
    assert "too many files" in ask("POST", SEARCH, data=form(upload, **many)).refusal[2]


@pytest.mark.parametrize("name", ["picture", "question"])
def test_a_form_that_has_a_field_twice_is_refused(ask, name):
    twice = form({}, picture=png())
    twice.add_field(name, png(), filename="other.png", content_type="image/png")
    status, kind, message = ask("POST", "/diffusion_toolkit/embed/image", data=twice).refusal
    assert (status, kind) == (400, "form") and f"{name!r} more than once" in message


@pytest.mark.parametrize(
    "place",
    [
        "0", "-1", "abc", "1e3", "1.0", "+1", "%20", "9223372036854775808", "9" * 400, "%D9%A1", "%00", "..", "%2e%2e%2fopenapi.json",
        "..%5c..%5cwindows", "1%2f..%2f..%2fetc%2fpasswd", "etc/passwd", "1/../../etc/passwd",
    ],
)  # fmt: skip
def test_ids_are_whole_numbers_and_nothing_else_is_served(ask, place):
    for what in ("", "/thumbnail", "/file"):
        answer = ask("GET", f"{IMAGES}/{place}{what}")
        assert answer.status in (400, 404) and b"root:" not in answer.body


def test_an_id_that_is_not_there_is_a_404(ask, image_id):
    for what in ("", "/thumbnail", "/file"):
        assert ask("GET", f"{IMAGES}/{2**62}{what}").refusal[:2] == (404, "no_image")
    assert ask("POST", f"{IMAGES}/{2**62}", json={"rating": 1}).refusal[:2] == (404, "no_image")
    status, kind, message = ask("POST", SEARCH, json={"parts": [{"kind": "image", "id": 2**62}]}).refusal
    assert (status, kind) == (404, "no_image") and f"no image {2**62}" in message


@pytest.mark.parametrize("size", ["0", "31", "1025", "9999999999999999999999", "abc", "", "-5", "1e2"])
def test_thumbnails_have_sensible_sizes(ask, image_id, size):
    assert ask("GET", f"{IMAGES}/{image_id}/thumbnail?size={size}").refusal[:2] == (400, "invalid_request")


@pytest.mark.parametrize("name", ["other", "../../etc", "", "default%00", "postgresql://me:secret@127.0.0.1/db"])
def test_a_library_that_is_not_configured_is_a_404(ask, name):
    assert ask("GET", f"{IMAGES}/1?library={name}").refusal[:2] == (404, "no_library")
    assert ask("POST", SEARCH, json={"parts": [WORDS], "library": name}).refusal[:2] == (404, "no_library")


def test_a_library_whose_server_is_down_is_a_503_without_its_secrets(server, ask, config):
    config.write_text(json.dumps({"libraries": {"down": "postgresql://someone:hunter2@127.0.0.1:1/pictures"}}), encoding="utf-8")
    config.chmod(0o600)
    answer = ask("GET", f"{IMAGES}/1?library=down")
    assert answer.refusal[:2] == (503, "library_unavailable") and answer.headers["Retry-After"]
    for secret in ("hunter2", "someone"):
        assert secret not in answer.body.decode() and secret not in server.log_text()


def test_what_no_new_try_mends_is_no_503(ask, config, tmp_path):
    own = EmbeddedServer.start(tmp_path / "own")
    right = own.dsn("postgres")
    libraries = {"lacking": make_conninfo(right, dbname="nosuch"), "wrong": make_conninfo(right, password="hunter2")}
    config.write_text(json.dumps({"libraries": libraries}), encoding="utf-8")
    config.chmod(0o600)
    try:
        for name, said in (("lacking", "The database does not exist"), ("wrong", "refuses the user or password")):
            answer = ask("GET", f"{IMAGES}/1?library={name}")
            assert answer.refusal[:2] == (409, "library") and said in answer.refusal[2] and "Retry-After" not in answer.headers
    finally:
        own.stop()


def test_a_misspelt_section_is_named_where_its_library_is_missing(ask, config):
    config.write_text(json.dumps({"libaries": {"work": "dbname=work"}}), encoding="utf-8")
    status, kind, message = ask("GET", f"{IMAGES}/1?library=work").refusal
    assert (status, kind) == (404, "no_library") and 'Did you mean "libraries"?' in message


def test_a_link_that_leads_out_of_the_root_is_not_followed(server, ask, image_id, tmp_path):
    file = server.output / "hostile" / "0000.png"
    outside = tmp_path / "outside.png"
    shutil.copy2(file, outside)  # the same size and time: only its place is another
    file.unlink()
    try:
        make_link(file, outside)
        for what in ("thumbnail", "file"):
            status, kind, message = ask("GET", f"{IMAGES}/{image_id}/{what}").refusal
            assert (status, kind) == (404, "file") and "no longer under a configured root" in message
    finally:
        file.unlink(missing_ok=True)
        shutil.copy2(outside, file)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://{host}"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, False),
        ({"Host": "comfy.example:8188", "Origin": "https://evil.example"}, False),  # ComfyUI itself looks at loopback names only
        ({"Host": "comfy.example:8188", "Origin": "http://comfy.example:8188"}, True),
        ({"Host": "comfy.example:8188", "Origin": "http://comfy.example:8188", "Sec-Fetch-Site": "same-site"}, False),  # the browser knows better
        ({"Host": "inside:8188", "X-Forwarded-Host": "comfy.example", "Origin": "https://comfy.example"}, True),
    ],
)
def test_pages_of_other_sites_change_nothing(server, ask, image_id, headers, allowed):
    headers = {name: value.format(host=f"127.0.0.1:{server.port}") for name, value in headers.items()}
    answers = [
        ask("POST", f"{IMAGES}/{image_id}", json={"rating": 5}, headers=headers),
        ask("POST", SEARCH, json={"parts": [{"kind": "prompt", "id": image_id}]}, headers=headers),
        ask("POST", "/diffusion_toolkit/embed/text", json={"texts": ["a"]}, headers=headers),
    ]
    assert [answer.status for answer in answers] == [200 if allowed else 403] * 3


def test_the_document_tells_how_pages_of_other_sites_are_refused(ask, image_id):
    """A POST may be refused by us, in words; a GET by ComfyUI alone, which says nothing."""
    refused = ask("GET", f"{IMAGES}/{image_id}", headers={"Origin": "https://evil.example"})
    assert (refused.status, refused.body) == (403, b"")
    for path, methods in ask("GET", "/diffusion_toolkit/openapi.json").json["paths"].items():
        for method, told in methods.items():
            assert ("content" in told["responses"]["403"]) == (method == "post"), (method, path)


def test_nothing_is_changed_by_a_get_and_other_methods_are_refused(ask, image_id):
    for method, path in (("GET", SEARCH), ("PUT", f"{IMAGES}/{image_id}"), ("DELETE", f"{IMAGES}/{image_id}"), ("GET", "/diffusion_toolkit/embed/text")):
        assert ask(method, path).status in (404, 405)  # a GET falls through to ComfyUI's own files


def test_filters_are_no_way_into_the_database(ask, image_id):
    for text in ("'; DROP TABLE images; --", "label:' OR 1=1 --", "%s %(q)s", "prompt:\"' || pg_sleep(9) --\"", "\x00", "((((" * 500):
        answer = ask("POST", SEARCH, json={"parts": [WORDS], "filter": text})
        assert answer.status in (200, 400), (text, answer.body)
    assert ask("GET", f"{IMAGES}/{image_id}").status == 200


@pytest.mark.parametrize(
    ("model", "body", "status"),
    [
        ("sound", {"texts": ["a"]}, 404),
        ("text", {}, 400),
        ("text", {"texts": ["a"] * 65}, 400),
        ("text", {"texts": [5]}, 400),
        ("image", {"texts": ["a"]}, 400),
        ("text", {"texts": [""]}, 200),
        ("text", {"texts": ["\ud800"]}, 400),
    ],
)
def test_embed_takes_what_its_model_takes(ask, image_id, model, body, status):
    data = json.dumps(body).encode()
    assert ask("POST", f"/diffusion_toolkit/embed/{model}", data=data, headers=JSON).status == status


@pytest.mark.parametrize(
    "body", [{"rating": 6}, {"rating": -2}, {"rating": "5"}, {"rating": 1.5}, {"add_labels": [""]}, {"add_labels": "a"}, {"hash": "x"}, []]
)
def test_labels_and_ratings_that_are_none(ask, image_id, body):
    assert ask("POST", f"{IMAGES}/{image_id}", json=body).refusal[:2] == (400, "invalid_request")


def test_a_hundred_requests_at_once_are_all_answered(server, image_id):
    wanted: list[tuple[str, str, dict[str, Any]]] = []
    for i in range(25):
        wanted += [
            ("POST", SEARCH, {"json": {"parts": [{"kind": "prompt", "text": f"a kite number {i}"}], "k": 5}}),
            ("POST", SEARCH, {"json": {"parts": [{"kind": "image", "id": image_id}], "k": 5, "exact": bool(i % 2)}}),
            ("GET", f"{IMAGES}/{image_id}/thumbnail?size={32 + i}", {}),
            ("POST", f"{IMAGES}/{image_id}", {"json": {"add_labels": [f"label {i}"]}}),
        ]
    answers = requests(server.url, wanted)
    assert [answer.status for answer in answers] == [200] * 100
    labels = request(server.url, "GET", f"{IMAGES}/{image_id}").json["labels"]
    assert {f"label {i}" for i in range(25)} <= set(labels)
    assert server.get("/system_stats")


def test_clients_that_leave_do_no_harm(server, image_id):
    impatient = aiohttp.ClientTimeout(total=0.05)
    for _ in range(10):
        try:
            request(server.url, "POST", SEARCH, json={"parts": [WORDS], "k": 5}, timeout=impatient)
        except asyncio.TimeoutError:  # another class than TimeoutError until Python 3.11
            pass
    assert request(server.url, "POST", SEARCH, json={"parts": [WORDS], "k": 5}).status == 200


def test_a_client_that_leaves_in_the_middle_of_its_question_does_no_harm(server, image_id):
    """What it would leave in the log, the last test here finds."""
    at = urlsplit(server.url)
    for _ in range(5):
        with socket.create_connection((at.hostname, at.port)) as client:
            head = f"POST {SEARCH} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            client.sendall(head.encode() + b'{"parts": [')
            time.sleep(0.1)  # so that it is being read
    assert request(server.url, "POST", SEARCH, json={"parts": [WORDS], "k": 5}).status == 200


def test_a_picture_of_hostile_size_is_refused(ask, image_id):
    bomb = io.BytesIO()
    Image.new("1", (30000, 30000)).save(bomb, "PNG")
    status, kind, _ = ask("POST", SEARCH, data=form({"parts": [{"kind": "image", "upload": "picture"}]}, picture=bomb.getvalue())).refusal
    assert (status, kind) == (400, "image")


def test_no_request_left_a_trace_in_the_log(server):
    """Runs last in this file: refusals are answers, and only what is our fault is logged."""
    assert "A request could not be answered" not in server.log_text()
