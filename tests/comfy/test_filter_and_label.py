"""Filter Images and Label Images in a real ComfyUI, with a search between them."""

from __future__ import annotations

import pytest
from host.client import PromptError
from host.comfy_models import import_comfy
from host.node_graphs import index, node, search_by_prompt

QUERY = "a lighthouse on a cliff"
WISHES = dict(
    words="", labels="", namespace="", folder="", checkpoint="", lora="", lowest_rating=0, aspect="any", since="", until="", filter_text=""
)  # fmt: skip


@pytest.fixture
def lighthouses(server, pictures):
    """Three lighthouses with distinct pictures, labelled by Index Folder."""
    for number, colour in enumerate(["red", "green", "white"]):
        pictures(f"lighthouses/{colour}", 1, prompt=f"a {colour} lighthouse on a cliff, number {number}", negative="blurry")
    server.queue(index("lighthouses", labels="Lighthouse, coast", namespace="Sea"))


def filtered(changes: dict | None = None, **search) -> dict:
    search["filter_text"] = f"folder:lighthouses {search.get('filter_text', '')}"  # other tests have lighthouses too
    graph = search_by_prompt(QUERY, top_k=5, filter=["filter", 0], **search)
    return {**graph, "filter": node("DiffusionToolkitFilterImages", **{**WISHES, **(changes or {})})}


def prompts(result) -> list[str]:
    return sorted(hit["prompt"].split()[1] for hit in result.outputs["search"]["hits"])


def label(**changes) -> dict:
    inputs = dict(add_labels="", remove_labels="", namespace="", rating="as it is", library_name="default")
    return node("DiffusionToolkitLabelImages", **{**inputs, **changes})


def test_the_labels_of_a_run_are_found(server, lighthouses):
    assert prompts(server.queue(filtered({"labels": "lighthouse", "namespace": "sea"}))) == ["green", "red", "white"]


def test_widgets_and_filter_text_hold_together(server, lighthouses):
    wishes = {"words": "lighthouse -red", "folder": "lighthouses", "filter_text": "steps:12 or steps:99"}
    assert prompts(server.queue(filtered(wishes))) == ["green", "white"]
    assert prompts(server.queue(filtered(wishes, filter_text="white"))) == ["white"]


def test_a_chained_filter_must_pass_too(server, lighthouses):
    graph = filtered({"words": "lighthouse", "filter_text": "-red"})
    graph["first"] = node("DiffusionToolkitFilterImages", **{**WISHES, "words": "-green"})
    graph["filter"]["inputs"]["filter"] = ["first", 0]
    result = server.queue(graph)
    assert prompts(result) == ["white"]
    assert result.outputs["filter"]["text"] == ['Only images that pass: (prompt:"lighthouse" (-red)) (-prompt:"green")']


def test_a_mistake_is_named_on_the_node(server, lighthouses):
    with pytest.raises(PromptError, match="at character 5, 'stps:20': there is no field 'stps'. Did you mean steps"):
        server.queue(filtered({"filter_text": "cat stps:20"}))


def test_hits_are_labelled_rated_and_found_again(server, lighthouses):
    graph = filtered({"words": "lighthouse -red"})
    graph["label"] = label(add_labels="Keep", remove_labels="coast", rating="4 stars", hits=["search", 12])
    assert server.queue(graph).outputs["label"]["text"] == ["2 of 2 images of 'default' changed"]
    assert prompts(server.queue(filtered({"labels": "keep, -coast", "lowest_rating": 4}))) == ["green", "white"]


def test_a_list_of_ids_is_one_change(server, lighthouses):
    graph = filtered({"words": "red lighthouse"})
    graph["label"] = label(namespace="-", rating="rejected", image_id=["search", 4])
    assert server.queue(graph).outputs["label"]["text"] == ["1 of 1 image of 'default' changed"]
    assert prompts(server.queue(filtered({"filter_text": 'label:lighthouse rating:rejected namespace:""'}))) == ["red"]


def test_a_list_that_would_put_all_images_into_its_first_namespace_is_refused(server, lighthouses):
    graph = filtered({"labels": "lighthouse"})
    graph["label"] = label(image_id=["search", 4], namespace=["search", 1])
    with pytest.raises(PromptError, match=r"namespace is a list of 3 values \('a .*'\), and all images are given one. Write one, and queue"):
        server.queue(graph)
    assert prompts(server.queue(filtered({"namespace": "sea"}))) == ["green", "red", "white"]
    graph["label"]["inputs"]["namespace"] = ["search", 2]  # three times the same
    assert server.queue(graph).outputs["label"]["text"] == ["3 of 3 images of 'default' changed"]
    assert prompts(server.queue(filtered({"namespace": "blurry"}))) == ["green", "red", "white"]


@pytest.mark.parametrize(("name", "values"), [("rating", ["1 star", "5 stars"]), ("library_name", ["default", "work"])])
def test_a_list_of_ratings_or_libraries_labels_nothing(name, values):
    import_comfy()
    from diffusion_toolkit.nodes.library.label_images import LabelImages

    given = dict(add_labels=["x"], remove_labels=[""], namespace=["", ""], rating=["as it is"], library_name=["default"], image_id=[3, 4])
    with pytest.raises(ValueError, match=f"{name} is a list of 2 values"):
        LabelImages.execute(**{**given, name: values})


def test_where_nothing_is_asked_of_images_that_is_told(server, lighthouses):
    graph = {**search_by_prompt(QUERY, top_k=1), "label": label(hits=["search", 12], add_labels=" ")}
    assert server.queue(graph).outputs["label"]["text"] == [
        "0 of 1 image of 'default' changed: nothing is asked. Write labels or a namespace, or choose a rating."
    ]


def test_without_images_the_node_says_what_to_connect(server, lighthouses):
    with pytest.raises(PromptError, match="Connect the hits of a search, or image ids"):
        server.queue({"label": label(add_labels="x")})


def test_labels_of_a_later_run_reach_images_that_are_known(server, lighthouses):
    assert server.queue(index("lighthouses", labels="again")).outputs["index"]["summary"][0]["added"] == 0
    assert prompts(server.queue(filtered({"labels": "again, lighthouse"}))) == ["green", "red", "white"]


def test_images_are_listed_by_filter_alone(server, lighthouses):
    graph = {"list": node("DiffusionToolkitListImages", order="newest", top_k=2, library_name="default", filter_text="lighthouse namespace:sea")}
    graph["ids"] = node("ProbeValues", values=["list", 4])
    result = server.queue(graph)
    shown = result.outputs["list"]["hits"]
    assert len(shown) == 2 and [hit["image_id"] for hit in shown] == result.outputs["ids"]["values"]
    head, *lines = result.outputs["list"]["text"][0].splitlines()
    assert head == "1 to 2 of 3 images that pass lighthouse namespace:sea"
    assert len(lines) == 2 and all("(its file's)  " in line for line in lines)  # what they are ordered by
    graph["list"]["inputs"]["offset"] = 2
    [head, line] = server.queue(graph).outputs["list"]["text"][0].splitlines()
    assert head.startswith("3 to 3 of 3 images that pass") and line.startswith("3. ")


def test_a_list_of_none_tells_which_word_only_begins_others(server, pictures):
    server.queue(index(pictures("beginnings", 3, prompt="a zoetrope on a table")))
    graph = {"list": node("DiffusionToolkitListImages", order="newest", top_k=2, library_name="default", filter_text="zoet rating:5")}
    graph["show"] = node("PreviewImage", images=["list", 0])
    said = r"no images that pass zoet rating:5\. No prompt has 'zoet' as whole words; zoet\* is in those of 3 images\."
    with pytest.raises(PromptError, match=said):
        server.queue(graph)


@pytest.mark.parametrize(
    ("asked", "helps"),
    [
        ({"filter_text": "folder:lighthouses red green"}, "There are no images that pass .*Loosen the filter."),
        ({"filter_text": "folder:lighthouses", "offset": 500}, "Of 3 images that pass folder:lighthouses none is after the first 500. Lower offset."),
    ],
)
def test_a_list_of_nothing_says_what_helps(server, lighthouses, asked, helps):
    graph = {"list": node("DiffusionToolkitListImages", order="newest", top_k=2, library_name="default", **asked)}
    graph["show"] = node("PreviewImage", images=["list", 0])
    with pytest.raises(PromptError, match=helps):
        server.queue(graph)


@pytest.mark.parametrize(("name", "value"), [("top_k", 2000), ("top_k", 0), ("offset", -1)])
def test_a_number_by_a_link_that_the_widget_would_not_take_is_refused(server, lighthouses, name, value):
    """ComfyUI looks at what a widget holds, and not at what a link brings."""
    given = {"order": "newest", "top_k": 2, "library_name": "default", name: ["number", 0]}
    searched = search_by_prompt("a lighthouse", **{name: ["number", 0]})
    for asking in ({"list": node("DiffusionToolkitListImages", **given)}, searched):
        graph = {**asking, "number": node("PrimitiveInt", value=value)}
        with pytest.raises(PromptError, match=f"{name} is {value}\\. "):
            server.queue(graph)


def test_a_mistake_in_a_widget_is_named_by_the_widget(server, lighthouses):
    with pytest.raises(PromptError, match="since can't be 'soon': write a date such as 2025"):
        server.queue(filtered({"since": "soon"}))


def test_pictures_of_comfyui_are_found_by_the_dates_of_their_files(server, lighthouses):
    assert prompts(server.queue(filtered({"labels": "lighthouse", "since": "7d"}))) == ["green", "red", "white"]
    graph = filtered({"labels": "lighthouse", "until": "7d"})
    graph["show"] = node("PreviewImage", images=["search", 0])
    with pytest.raises(PromptError, match="0 of [0-9,]+ images pass"):
        server.queue(graph)


ANOTHER = "The images are of several libraries"


@pytest.mark.parametrize(
    "hits_of, linked, chosen, with_ids, meant",
    [
        (["work"], [], "default", False, "work"),  # the widget is beside the point
        (["work"], [], "default", True, ANOTHER),
        (["work"], [], "work", True, "work"),
        (["work"], ["work"], "default", True, "work"),
        (["work"], ["archive"], "work", True, ANOTHER),
        (["work"], ["archive"], "work", False, ANOTHER),
        (["work", "archive"], [], "work", False, ANOTHER),
        ([], ["work", "archive"], "default", True, ANOTHER),
        ([], ["archive"], "default", True, "archive"),
        ([], [], "default", True, "default"),
    ],
)
def test_ids_and_hits_must_be_of_one_library(hits_of, linked, chosen, with_ids, meant):
    import_comfy()
    from diffusion_toolkit.nodes.chosen_images import meant_library
    from diffusion_toolkit.nodes.links import Hits

    hits = [Hits(library, ()) for library in hits_of]
    if meant != ANOTHER:
        assert meant_library(hits, linked, chosen, [1] * with_ids) == meant
        return
    with pytest.raises(ValueError, match=ANOTHER):
        meant_library(hits, linked, chosen, [1] * with_ids)


def test_ids_meant_for_another_library_label_nothing():
    import_comfy()
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.library.label_images import LabelImages
    from diffusion_toolkit.nodes.links import Hits

    hits = [Hits("work", (db.Hit(1, 0.5, 1),))]
    with pytest.raises(ValueError, match="the hits are of 'work', library_name is 'archive'. Choose the library of the image ids"):
        LabelImages.execute(["x"], [""], [""], ["as it is"], ["archive"], hits=hits, image_id=[3])
