"""Search, its query nodes, options and what takes its hits, in a real ComfyUI."""

from __future__ import annotations

import json
import shutil

import pytest
from host.client import PromptError
from host.node_graphs import (
    index,
    node,
    query_by_image,
    query_by_prompt,
    query_by_stored,
    query_by_style,
    search,
    search_by_image,
    search_by_prompt,
)
from PIL import Image
from PIL.PngImagePlugin import PngInfo

HITS = 12  # the place of the `hits` output
PROMPTS = [
    "a grey shark swimming in the ocean",
    "a red sailing boat on the ocean",
    "a loaf of bread on a table",
    "a sports car at night",
]


def hits(result, name: str = "search") -> list[dict]:
    return result.outputs[name]["hits"]


def prompts(result) -> list[str]:
    return [hit["prompt"] for hit in hits(result)]


def stored(server, prompt: str) -> int:
    """The id of the image with this prompt."""
    found = hits(server.queue(search_by_prompt(prompt, top_k=1)))[0]
    assert found["prompt"] == prompt
    return found["image_id"]


@pytest.fixture(scope="module")
def sea(server, pictures):
    """Pictures of the sea and of other things, indexed with all models."""
    for i, prompt in enumerate(PROMPTS):
        pictures(f"sea/{i}", 1, prompt=prompt, negative="ugly teeth" if i == 2 else "low quality")
    server.queue(index("sea"))


def test_one_query_gives_what_search_by_prompt_gives(server, sea):
    mixed = hits(server.queue(search((1.0, query_by_prompt("a fish")))))
    plain = hits(server.queue(search_by_prompt("a fish")))
    assert [(hit["image_id"], hit["score"]) for hit in mixed] == [(hit["image_id"], hit["score"]) for hit in plain]


def test_a_negative_weight_finds_what_is_unlike(server, sea):
    ocean = query_by_prompt("something on the ocean")

    def ranked(*queries) -> list[str]:
        """Among this file's own: how many of another file's lie between is chance."""
        return [prompt for prompt in prompts(server.queue(search(*queries, top_k=1000))) if prompt in PROMPTS]

    both, without = ranked((1.0, ocean)), ranked((1.0, ocean), (-1.0, query_by_prompt("a shark")))
    assert without.index(PROMPTS[1]) < without.index(PROMPTS[0])
    assert abs(both.index(PROMPTS[0]) - both.index(PROMPTS[1])) < without.index(PROMPTS[0]) - without.index(PROMPTS[1])


def test_a_search_by_negative_prompt_shows_the_negative_prompts(server, sea):
    alone = server.queue(search((1.0, query_by_prompt("ugly teeth", "negative prompt")), top_k=1))
    [first] = hits(alone)
    assert alone.outputs["search"]["text"][0].splitlines()[-1].endswith(f"#{first['image_id']}  negative: ugly teeth")
    both = server.queue(search((1.0, query_by_prompt("ugly teeth", "negative prompt")), (1.0, query_by_prompt("a loaf of bread")), top_k=1))
    assert f"#{first['image_id']}  {PROMPTS[2]}  negative: ugly teeth" in both.outputs["search"]["text"][0]


def test_the_score_is_the_sum_of_what_each_query_gave(server, sea):
    look = query_by_stored(stored(server, PROMPTS[0]), leave_out=False)
    result = server.queue(search((1.0, query_by_prompt("a shark")), (-0.5, look)))
    for hit in hits(result):
        gave = [part["weight"] * part["cosine"] for part in hit["parts"] if part["cosine"] is not None]
        assert hit["score"] == pytest.approx(sum(gave), abs=2e-3)
    text = result.outputs["search"]["text"][0]
    assert "'a shark' - 0.5 x the picture of image" in text and text.splitlines()[1].startswith("Found by: ")


def test_a_query_of_weight_zero_is_not_asked(server, sea):
    result = server.queue(search((1.0, query_by_prompt("a shark")), (0.0, query_by_style("a boat"))))
    assert {len(hit["parts"]) for hit in hits(result)} == {1}


def test_all_weights_zero_is_refused(server, sea):
    with pytest.raises(PromptError, match="weight 0"):
        server.queue(search((0.0, query_by_prompt("a shark"))))


def test_a_stored_image_is_asked_without_a_model_and_is_not_its_own_hit(server, sea):
    image_id = stored(server, PROMPTS[1])
    graph = search((1.0, query_by_stored(image_id, "its prompt")), top_k=1000)
    result = server.queue({name: graph[name] for name in ("query_1", "search")})
    assert image_id not in [hit["image_id"] for hit in hits(result)]
    assert PROMPTS[1] in result.outputs["query_1"]["text"][0]


def test_a_stored_image_that_may_be_a_hit_is_the_best_one(server, sea):
    image_id = stored(server, PROMPTS[1])
    for by, kinds in {
        "its picture": ["image"],
        "its prompt": ["prompt"],
        "its SDXL style (CLIP-L and CLIP-G)": ["clip_l", "clip_g"],
        "its CLIP-G style": ["clip_g"],
    }.items():
        first = hits(server.queue(search((1.0, query_by_stored(image_id, by, leave_out=False)), top_k=1)))[0]
        assert first["score"] == pytest.approx(1, abs=2e-3), by
        assert [part["kind"] for part in first["parts"]] == kinds


def test_an_image_that_is_not_there_is_named(server, sea):
    with pytest.raises(PromptError, match="no image 987654"):
        server.queue(search((1.0, query_by_stored(987654))))


def test_a_vector_that_an_image_lacks_is_named_with_the_next_step(server, pictures):
    pictures("unprompted", 1, prompt="only the prompt is encoded")
    server.queue(index("unprompted", clip_vision=None, clip=None))
    image_id = stored(server, "only the prompt is encoded")
    with pytest.raises(PromptError, match=f"Image {image_id} has no image vector.*Run Index Folder"):
        server.queue(search((1.0, query_by_stored(image_id))))


def test_the_negative_prompt_is_asked_for(server, sea):
    first = hits(server.queue(search((1.0, query_by_prompt("ugly teeth", "negative prompt")), top_k=1)))[0]
    assert first["negative_prompt"] == "ugly teeth"
    assert first["score"] == pytest.approx(1, abs=2e-3)


def test_a_style_of_a_text_finds_the_image_with_that_prompt(server, sea):
    result = server.queue(search((1.0, query_by_style(PROMPTS[3])), top_k=1))
    assert hits(result)[0]["prompt"] == PROMPTS[3]
    assert [part["weight"] for part in hits(result)[0]["parts"]] == [0.5, 0.5]


def test_pictures_and_words_mix(server, sea):
    shutil.copyfile(next((server.output / "sea" / "2").iterdir()), server.input / "bread.png")
    graph = search((1.0, query_by_image(["picture", 0])), (0.2, query_by_prompt("a car")), top_k=2)
    graph["picture"] = node("LoadImage", image="bread.png")
    assert hits(server.queue(graph))[0]["prompt"] == PROMPTS[2]


def test_a_vector_of_ones_own_is_asked_with(server, sea):
    vector = node("DiffusionToolkitQueryByVector", vector=json.dumps([0.1] * 768), kind="CLIP-L")
    assert hits(server.queue(search((1.0, vector))))


def test_a_vector_of_another_size_is_refused_with_both_sizes(server, sea):
    vector = node("DiffusionToolkitQueryByVector", vector="[1, 2, 3]", kind="image")
    with pytest.raises(PromptError, match="image needs 1024 numbers, you gave 3.*JSON list"):
        server.queue(search((1.0, vector)))


def test_arithmetic_is_one_query(server, sea):
    graph = search((1.0, node(
        "DiffusionToolkitQueryArithmetic", query=["a", 0], minus=["b", 0], query_weight=1.0, plus_weight=1.0, minus_weight=1.0,
    )), top_k=1000)  # fmt: skip
    graph["a"], graph["b"] = query_by_prompt("something on the ocean"), query_by_prompt("a shark")
    result = server.queue(graph)
    assert prompts(result).index(PROMPTS[1]) < prompts(result).index(PROMPTS[0])
    assert "('something on the ocean' - 'a shark')" in result.outputs["search"]["text"][0]


def test_arithmetic_across_kinds_is_refused(server, sea):
    graph = search((1.0, node(
        "DiffusionToolkitQueryArithmetic", query=["a", 0], plus=["b", 0], query_weight=1.0, plus_weight=1.0, minus_weight=1.0,
    )))  # fmt: skip
    graph["a"], graph["b"] = query_by_prompt("a shark"), query_by_style("a shark")
    with pytest.raises(PromptError, match="of one kind"):
        server.queue(graph)


def test_pages_follow_each_other(server, sea):
    for graph in (search((1.0, query_by_prompt("a boat")), top_k=4), search_by_prompt("a boat", top_k=4)):
        whole = [hit["image_id"] for hit in hits(server.queue(graph))]
        graph["search"]["inputs"].update(top_k=2, offset=2)
        result = server.queue(graph)
        assert [hit["image_id"] for hit in hits(result)] == whole[2:]
        assert [hit["rank"] for hit in hits(result)] == [3, 4]
        assert "Hits 3 to 4" in result.outputs["search"]["text"][0]


def test_a_page_beyond_the_end_says_so(server, sea):
    graph = search_by_prompt("a boat", offset=100_000)
    graph["show"] = node("PreviewImage", images=["search", 0])
    with pytest.raises(PromptError, match="No hits.*[Ll]ower offset"):
        server.queue(graph)


def test_a_filter_text_narrows_any_search(server, sea):
    shutil.copyfile(next((server.output / "sea" / "2").iterdir()), server.input / "bread.png")
    for graph in (
        search((1.0, query_by_prompt("a boat")), top_k=1000),
        search_by_prompt("a boat", top_k=1000),
        search_by_image("bread.png", top_k=1000, lowest_score=-1.0),
    ):
        graph["search"]["inputs"]["filter_text"] = 'folder:sea negative:"ugly teeth"'
        assert set(prompts(server.queue(graph))) == {PROMPTS[2]}


def test_a_filter_text_with_a_mistake_is_refused(server, sea):
    with pytest.raises(PromptError, match="filter"):
        server.queue(search_by_prompt("a boat", filter_text="steps:20.. ("))


def test_options_reach_the_search(server, sea):
    graph = search((1.0, query_by_prompt("a boat")), top_k=1000, options=["options", 0])
    graph["options"] = node(
        "DiffusionToolkitSearchOptions", order="score", diversity=0.0, collapse="nothing", recency=0.0, recency_days=30.0,
        lowest_percentile=60.0, normalise=False, exact=True,
    )  # fmt: skip
    with_all = len(hits(server.queue(search((1.0, query_by_prompt("a boat")), top_k=1000))))
    chosen = hits(server.queue(graph))
    assert 0 < len(chosen) < with_all
    assert all(hit["percentile"] >= 60 for hit in chosen)


def test_pick_hit_gives_single_values(server, sea):
    graph = search((1.0, query_by_prompt("a boat")), top_k=3, filter_text="folder:sea")
    graph["pick"] = node("DiffusionToolkitPickHit", hits=["search", HITS], pick=2)
    slots = [slot for slot in range(HITS + 3) if slot != HITS]
    graph.update({f"probe_{slot}": node("ProbeValues", values=["pick", slot]) for slot in slots})
    result = server.queue(graph)
    second = hits(result)[1]
    values = [result.outputs[f"probe_{slot}"]["values"] for slot in slots]
    assert {len(value) for value in values} == {1}
    assert values[HITS:] == [[64], [48]]
    assert (values[1][0], values[4][0]) == (second["prompt"], second["image_id"])
    assert hits(result, "pick")[0]["image_id"] == second["image_id"]


def test_pick_hit_says_which_settings_are_defaults(server, pictures):
    file = server.output / pictures("bare", 1, prompt="a bare rock") / "0000.png"
    with Image.open(file) as picture:
        bare = picture.copy()
    bare.save(file)
    server.queue(index("bare"))
    graph = {
        "list": node("DiffusionToolkitListImages", order="newest", top_k=1, library_name="default", filter_text="folder:bare"),
        "pick": node("DiffusionToolkitPickHit", hits=["list", HITS], pick=1),
        "probe": node("ProbeValues", values=["pick", 6]),
    }
    assert "Not told by its file, so a default: seed, steps, cfg, sampler, scheduler, checkpoint" in server.queue(graph).outputs["pick"]["text"]
    graph["list"]["inputs"]["filter_text"] = "folder:sea seed:>=0 steps:>=0 cfg:>=0 checkpoint:*"
    assert not [line for line in server.queue(graph).outputs["pick"]["text"] if "default" in line]


def test_the_size_of_a_hit_is_the_one_that_the_sampler_was_asked_for(server, pictures):
    file = server.output / pictures("upscaled", 1, prompt="an observatory above the clouds") / "0000.png"
    with Image.open(file) as picture:
        saved = PngInfo()
        saved.add_text("prompt", picture.text["prompt"])
        picture.resize((128, 96)).save(file, pnginfo=saved)
    server.queue(index("upscaled"))
    graph = search_by_prompt("an observatory above the clouds", top_k=1)
    graph.update({name: node("ProbeValues", values=["search", slot]) for name, slot in {"image": 0, "width": 13, "height": 14}.items()})
    values = {name: output.get("values") for name, output in server.queue(graph).outputs.items()}
    assert values["image"][0]["shape"] == [1, 96, 128, 3]
    assert (values["width"], values["height"]) == ([64], [48])


@pytest.mark.parametrize(("order", "shown"), [("seed", "seed 1844674407370955161"), ("newest", "(its file's)  ")])
def test_hits_show_what_they_are_ordered_by(server, sea, order, shown):
    graph = search((1.0, query_by_prompt("a boat")), top_k=3, filter_text="folder:sea", options=["options", 0])
    graph["options"] = node(
        "DiffusionToolkitSearchOptions", order=order, diversity=0.0, collapse="nothing", recency=0.0, recency_days=30.0,
        lowest_percentile=0.0, normalise=False, exact=False,
    )  # fmt: skip
    lines = [line for line in server.queue(graph).outputs["search"]["text"][0].splitlines() if "#" in line]
    assert len(lines) == 3 and all(shown in line for line in lines)


def test_a_hit_that_is_not_there_is_refused_with_the_range(server, sea):
    graph = search((1.0, query_by_prompt("a boat")), top_k=3)
    graph["pick"] = node("DiffusionToolkitPickHit", hits=["search", HITS], pick=4)
    graph["show"] = node("PreviewImage", images=["pick", 0])
    with pytest.raises(PromptError, match="no hit number 4: it gives 1 to 3"):
        server.queue(graph)


def test_old_workflows_find_their_inputs_and_outputs_where_they_were(server):
    """ComfyUI saves positions: what a release had stays first, in its order. A new input is optional, so saved prompts stay valid."""
    shipped = {
        "DiffusionToolkitSearchByPrompt": (["text_embedder", "query", "top_k", "lowest_score", "library_name"], ["library"]),
        "DiffusionToolkitSearchByImage": (["clip_vision", "image", "top_k", "lowest_score", "library_name"], ["library"]),
        "DiffusionToolkitLoader": (["image_id", "library_name", "vectors"], ["library", "clip"]),
        "DiffusionToolkitIndexFolder": (
            ["root", "subfolder", "recursive", "pattern", "library_name", "token_state_budget"],
            ["clip", "clip_vision", "text_embedder"],
        ),
    }
    info = server.object_info()
    for name, (required, optional) in shipped.items():
        order = info[name]["input_order"]
        assert order["required"] == required, name
        assert order["optional"][: len(optional)] == optional, name
    for name in ("DiffusionToolkitSearchByPrompt", "DiffusionToolkitSearchByImage", "DiffusionToolkitSearch", "DiffusionToolkitPickHit"):
        assert info[name]["output_name"][: HITS + 3] == [
            "image", "prompt", "negative_prompt", "score", "image_id", "path", "seed", "steps", "cfg", "sampler", "scheduler",
            "checkpoint", "hits", "width", "height",
        ]  # fmt: skip
