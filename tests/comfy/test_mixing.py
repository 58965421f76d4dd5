"""Several stored images at once in a real ComfyUI: the Loader's lists, Mix, Interpolate and Push Away, against ComfyUI's own nodes."""

from __future__ import annotations

import re

import pytest
from host.client import PromptError
from host.node_graphs import CLIP, index, models, node, search_by_prompt

FP16 = 2**-11  # relative rounding of float16
TEXTS = {  # folder: prompt and negative prompt
    "fox": ("a fox (in the snow:1.3)", "ugly, (blurry:1.2)"),
    "city": ("a city of glass under three moons, oil on canvas", "text, watermark"),
    "forest": ("very detailed painting of a dark forest, " * 15, "low quality"),  # two sections of tokens
}
FOX, CITY, FOREST = (prompt for prompt, _ in TEXTS.values())
Ids = dict[str, int]


@pytest.fixture(scope="module")
def ids(server, pictures) -> Ids:
    """The ids of three indexed images by folder, the forest's text longer than the others."""
    for folder, (prompt, negative) in TEXTS.items():
        pictures(f"mixing/{folder}", 1, prompt=prompt, negative=negative)
    server.queue(index("mixing"))
    hits = server.queue(search_by_prompt("a fox", top_k=9, filter_text="folder:mixing")).outputs["search"]["hits"]
    return {folder: next(hit["image_id"] for hit in hits if hit["prompt"] == prompt) for folder, (prompt, _) in TEXTS.items()}


def mix(image_ids: str = "", **changes) -> dict:
    return node("DiffusionToolkitMixConditioning", image_ids=image_ids, library_name="default", **changes)


def interpolate(image_ids: str = "", **changes) -> dict:
    return node("DiffusionToolkitInterpolateConditioning", image_ids=image_ids, library_name="default", **changes)


def push(image_ids: str = "", **changes) -> dict:
    return node("DiffusionToolkitPushAway", image_ids=image_ids, library_name="default", **changes)


def load(image_ids: str = "", **changes) -> dict:
    inputs = dict(image_id=1, library_name="default", vectors="both", image_ids=image_ids)
    return node("DiffusionToolkitLoader", **{**inputs, **changes})


def encode(text: str, clip=CLIP) -> dict:
    return node("CLIPTextEncode", text=text, clip=clip)


def probe(a: list, b: list) -> dict:
    return node("ProbeConditioning", a=a, b=b)


def values(link: list) -> dict:
    return node("ProbeValues", values=link)


def run(server, **nodes: dict) -> dict:
    """Queue these with the stand-ins; `searched` with the hits that the test's images are."""
    return server.queue({**models(), **nodes}).outputs


def search(server, query: str = "a fox", **changes) -> dict:
    return search_by_prompt(query, **{"top_k": 3, "filter_text": "folder:mixing", **changes})["search"]


def assert_within_fp16(probed: dict, times: int = 1) -> None:
    for part in ("states", "pooled"):
        measured = probed[part][0]
        assert measured["largest"] > 0
        assert measured["difference"] <= measured["largest"] * FP16 * times, (part, measured)


def differs(probed: dict) -> float:
    return probed["states"][0]["difference"] / probed["states"][0]["largest"]


def test_a_mix_of_two_is_conditioning_average_within_fp16_rounding(server, ids):
    graph = {"fox": encode(FOX), "city": encode(CITY), "no_fox": encode(TEXTS["fox"][1]), "no_city": encode(TEXTS["city"][1])}
    for name, weights, strength in (("even", "", 0.5), ("uneven", "1, 3", 0.25), ("only", "1 0", 1.0)):
        graph[name] = mix(f"{ids['fox']}, {ids['city']}", weights=weights)
        for side, (to, from_) in enumerate((("fox", "city"), ("no_fox", "no_city"))):
            graph[f"{name}_{side}"] = node(
                "ConditioningAverage", conditioning_to=[to, 0], conditioning_from=[from_, 0], conditioning_to_strength=strength
            )
            graph[f"probe_{name}_{side}"] = probe([f"{name}_{side}", 0], [name, side])
    graph["labels"] = values(["uneven", 2])
    outputs = run(server, **graph)
    for name in ("even", "uneven", "only"):
        for side in (0, 1):
            assert_within_fp16(outputs[f"probe_{name}_{side}"])
    assert outputs["labels"]["values"] == [f"0.25 x {ids['fox']} + 0.75 x {ids['city']}"]
    assert f"0.25 x #{ids['fox']}  a fox" in outputs["uneven"]["text"][0]
    assert re.search(r"positive: exact, from stored token states of .+\nnegative: exact", outputs["uneven"]["text"][0])


def test_lengths_kept_are_longer_than_the_averages(server, ids):
    several = ", ".join(map(str, ids.values()))
    outputs = run(
        server, plain=mix(several), kept=mix(several, how="average, length kept"), probe=probe(["plain", 0], ["kept", 0])
    )
    assert outputs["probe"]["shape"][0][1] == 154
    assert differs(outputs["probe"]) > 0.01


def sample(positive: list, negative: list) -> dict:
    return node(
        "KSampler", model=["checkpoint", 0], positive=positive, negative=negative, latent_image=["latent", 0],
        seed=1, steps=4, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=1.0,
    )  # fmt: skip


def test_ksampler_hears_a_repeated_text_as_it_hears_the_text(server, ids):
    """A hair of a longer text makes a short one's conditioning twice as long, and moves the latent not at all."""
    outputs = run(
        server,
        latent=node("EmptyLatentImage", width=128, height=128, batch_size=1),
        alone=load(str(ids["fox"])),
        other=load(str(ids["city"])),
        long=mix(f"{ids['fox']} {ids['forest']}", weights="1, 1e-9"),
        average=node("ConditioningAverage", conditioning_to=["longer", 0], conditioning_from=["alone", 0], conditioning_to_strength=0.0),
        longer=load(str(ids["forest"])),
        s_alone=sample(["alone", 0], ["alone", 1]),
        s_other=sample(["other", 0], ["alone", 1]),
        s_long=sample(["long", 0], ["alone", 1]),
        s_average=sample(["average", 0], ["alone", 1]),
        d_other=node("ProbeLatent", a=["s_alone", 0], b=["s_other", 0]),
        d_long=node("ProbeLatent", a=["s_alone", 0], b=["s_long", 0]),
        d_average=node("ProbeLatent", a=["s_alone", 0], b=["s_average", 0]),
        shape=probe(["long", 0], ["long", 0]),
    )
    moved = {name: outputs[f"d_{name}"]["latent"][0]["difference"] for name in ("other", "long", "average")}
    print(moved)
    assert outputs["shape"]["shape"][0][1] == 154
    assert moved["long"] < moved["other"] / 100
    assert moved["average"] > 5 * moved["long"]  # ComfyUI's own fills up with zeros, which are attended to


@pytest.mark.parametrize(("style", "content"), [("city", "fox"), ("fox", "forest"), ("forest", "fox")])
def test_clip_l_of_one_and_clip_g_of_another_is_clip_text_encode_sdxl(server, ids, style, content):
    graph = {}
    for side in (0, 1):
        sizes = dict(width=1024, height=1024, crop_w=0, crop_h=0, target_width=1024, target_height=1024)
        graph[f"both_{side}"] = node("CLIPTextEncodeSDXL", clip=CLIP, text_g=TEXTS[content][side], text_l=TEXTS[style][side], **sizes)
        graph[f"probe_{side}"] = probe([f"both_{side}", 0], ["mix", side])
    outputs = run(server, mix=mix(str(ids[content]), clip_l_ids=str(ids[style])), labels=values(["mix", 2]), **graph)
    for side in (0, 1):
        assert_within_fp16(outputs[f"probe_{side}"])
    assert outputs["labels"]["values"] == [f"1.00 x {ids[content]} with CLIP-L of {ids[style]}"]


def test_a_search_is_mixed_by_its_scores(server, ids):
    outputs = run(
        server, search=search(server), mix=mix(hits=["search", 12], weigh_by="weights x score"), label=values(["mix", 2])
    )
    scores = [max(hit["score"], 0) for hit in outputs["search"]["hits"]]
    wanted = [f"{score / sum(scores):.2f} x {hit['image_id']}" for score, hit in zip(scores, outputs["search"]["hits"])]
    assert outputs["label"]["values"] == [" + ".join(wanted)]
    assert scores[0] > scores[1]


def test_ids_over_a_list_run_a_node_once_an_id(server, ids):
    outputs = run(server, search=search(server), mix=mix(["search", 4]), label=values(["mix", 2]))
    assert outputs["label"]["values"] == [f"1.00 x {hit['image_id']}" for hit in outputs["search"]["hits"]]


def test_an_interpolation_begins_and_ends_with_the_images_own_conditioning(server, ids):
    graph = {"two": interpolate(f"{ids['fox']} {ids['city']}", steps=2), "fox": load(str(ids["fox"])), "t": values(["two", 2])}
    graph |= {"labels": values(["two", 3]), "probe": probe(["two", 0], ["fox", 0]), "probe_negative": probe(["two", 1], ["fox", 1])}
    outputs = run(server, **graph)
    assert outputs["t"]["values"] == [0, 1]
    assert outputs["labels"]["values"] == [f"{ids['fox']} to {ids['city']} at {t}" for t in ("0.00", "1.00")]
    for name in ("probe", "probe_negative"):
        first, last = outputs[name]["states"]
        assert first["difference"] == 0 and last["difference"] > 0


@pytest.mark.parametrize("how", ["linear", "spherical"])
def test_the_steps_of_an_interpolation_lie_between_its_ends(server, ids, how):
    outputs = run(
        server,
        steps=interpolate(f"{ids['fox']} {ids['city']}", steps=5, how=how),
        fox=load(str(ids["fox"])),
        average=node("ConditioningAverage", conditioning_to=["fox", 0], conditioning_from=["city", 0], conditioning_to_strength=0.5),
        city=load(str(ids["city"])),
        from_fox=probe(["fox", 0], ["steps", 0]),
        from_average=probe(["average", 0], ["steps", 0]),
        t=values(["steps", 2]),
    )
    away = [one["difference"] for one in outputs["from_fox"]["states"]]
    assert outputs["t"]["values"] == [0, 0.25, 0.5, 0.75, 1]
    assert away == sorted(away) and away[0] == 0
    middle = outputs["from_average"]["states"][2]
    assert (middle["difference"] <= middle["largest"] * FP16) == (how == "linear")


def test_an_interpolation_goes_through_all_hits(server, ids):
    outputs = run(
        server, search=search(server), steps=interpolate(hits=["search", 12], steps=5), labels=values(["steps", 3]), t=values(["steps", 2])
    )
    a, b, c = (hit["image_id"] for hit in outputs["search"]["hits"])
    assert outputs["labels"]["values"] == [f"{a} to {b} at 0.00", f"{a} to {b} at 0.50", f"{b} to {c} at 0.00", f"{b} to {c} at 0.50", f"{b} to {c} at 1.00"]
    assert "through 3 images" in outputs["steps"]["text"][0]


def test_a_hit_and_another_image_are_two_images(server, ids):
    pick = node("DiffusionToolkitPickHit", hits=["search", 12], pick=1)
    outputs = run(server, search=search(server), pick=pick, steps=interpolate(str(ids["city"]), hits=["pick", 12], steps=3), labels=values(["steps", 3]))
    assert outputs["labels"]["values"][0] == f"{ids['fox']} to {ids['city']} at 0.00"


@pytest.mark.parametrize("direction", ["whole text", "token by token"])
def test_a_push_grows_with_its_strength_from_nothing(server, ids, direction):
    graph = {"fox": load(str(ids["fox"]))}
    for name, strength in (("still", 0.0), ("bit", 0.2), ("far", 1.0)):
        graph[name] = push(str(ids["fox"]), disliked_ids=str(ids["city"]), strength=strength, direction=direction)
        graph[f"probe_{name}"] = probe(["fox", 0], [name, 0])
        graph[f"negative_{name}"] = probe(["fox", 1], [name, 1])
    graph["label"] = values(["bit", 3])
    other = "token by token" if direction == "whole text" else "whole text"
    graph["other"] = push(str(ids["fox"]), disliked_ids=str(ids["city"]), strength=0.2, direction=other)
    graph["probe_other"] = probe(["bit", 0], ["other", 0])
    outputs = run(server, **graph)
    assert differs(outputs["probe_other"]) > 1e-3
    assert differs(outputs["probe_still"]) < 1e-5
    assert 1e-3 < differs(outputs["probe_bit"]) < differs(outputs["probe_far"])
    assert all(outputs[f"negative_{name}"]["states"][0]["difference"] == 0 for name in ("still", "bit", "far"))
    assert outputs["label"]["values"] == [f"{ids['fox']} away from {ids['city']} by 0.20"]
    assert f"Away from image {ids['city']}, strength 0.2, {direction}" in outputs["bit"]["text"][0]


def test_hits_are_pushed_each_from_its_own_negative_prompt(server, ids):
    outputs = run(
        server,
        search=search(server),
        push=push(hits=["search", 12], strength=0.5),
        alone=push(["search", 4], strength=0.5),  # each image by itself
        each=probe(["alone", 0], ["push", 0]),
        load=load(hits=["search", 12]),
        pushed=values(["push", 2]),
        loaded=values(["load", 4]),
        prompts=values(["load", 2]),
        probe=probe(["load", 0], ["push", 0]),
    )
    found = [hit["image_id"] for hit in outputs["search"]["hits"]]
    assert outputs["pushed"]["values"] == outputs["loaded"]["values"] == found
    assert outputs["prompts"]["values"] == [hit["prompt"] for hit in outputs["search"]["hits"]]
    assert all(one["difference"] > 0 for one in outputs["probe"]["states"]) and len(outputs["probe"]["states"]) == 3
    assert [one["difference"] for one in outputs["each"]["states"]] == [0, 0, 0]
    assert "Away from their negative prompts" in outputs["push"]["text"][0]
    assert outputs["load"]["text"][0].startswith("3 images of 'default': #")


def test_an_image_is_not_pushed_from_itself_among_others(server, ids):
    several = f"{ids['fox']} {ids['city']}"
    outputs = run(
        server, a=push(str(ids["fox"]), disliked_ids=several), b=push(str(ids["fox"]), disliked_ids=str(ids["city"])), probe=probe(["a", 0], ["b", 0])
    )
    assert differs(outputs["probe"]) == 0


def test_the_loader_tells_the_sizes_that_clip_text_encode_sdxl_tells(server, ids):
    told = dict(width=64, height=48, crop_w=0, crop_h=0, target_width=64, target_height=48)
    outputs = run(
        server,
        own=load(str(ids["fox"]), sizes="the image's own"),
        none=load(str(ids["fox"])),
        sdxl=node("CLIPTextEncodeSDXL", clip=CLIP, text_g=FOX, text_l=FOX, **told),
        probe=probe(["sdxl", 0], ["own", 0]),
        without=probe(["none", 0], ["own", 1]),
    )
    assert_within_fp16(outputs["probe"])
    assert outputs["probe"]["numbers"] == [told, told]
    assert outputs["without"]["numbers"] == [{}, told]


def test_ids_in_a_text_and_a_number_are_taken_by_the_loader(server, ids):
    outputs = run(
        server, text=load(f"#{ids['city']}, {ids['fox']}"), t=values(["text", 4]), number=load(ids["city"]), n=values(["number", 4]),
        one=load("", image_id=ids["forest"]), o=values(["one", 4]),
    )  # fmt: skip
    assert outputs["t"]["values"] == [ids["city"], ids["fox"]]
    assert outputs["n"]["values"] == [ids["city"]]
    assert outputs["o"]["values"] == [ids["forest"]]


def test_hits_beside_a_list_of_ids_are_loaded_once(server, ids):
    outputs = run(server, search=search(server), load=load(hits=["search", 12], image_id=["search", 4]), loaded=values(["load", 4]))
    assert outputs["loaded"]["values"] == [hit["image_id"] for hit in outputs["search"]["hits"]]
    one = run(server, search=search(server), load=load(["search", 4], hits=["search", 12]), loaded=values(["load", 4]))
    assert one["loaded"]["values"] == outputs["loaded"]["values"]


@pytest.mark.parametrize("chosen", [dict(image_id=["search", 4]), dict(hits=["search", 12]), dict(image_id=["search", 4], hits=["search", 12])])
def test_a_list_of_clips_stays_aligned_with_the_images(server, ids, chosen):
    """As of Load Checkpoint after a search's checkpoints: each image by its own CLIP, not all images by each."""
    outputs = run(
        server,
        search=search(server),
        clips=node("StandInCheckpoint", seed=["search", 4]),
        load=load(clip=["clips", 1], **chosen),
        loaded=values(["load", 4]),
        encode=node("CLIPTextEncode", text=["search", 1], clip=["clips", 1]),
        probe=probe(["encode", 0], ["load", 0]),
    )
    assert outputs["loaded"]["values"] == [hit["image_id"] for hit in outputs["search"]["hits"]]
    assert len(outputs["probe"]["states"]) == 3
    assert all(one["difference"] <= one["largest"] * FP16 for one in outputs["probe"]["states"])


def test_a_negative_prompt_that_is_blank_is_none_to_be_pushed_from(server, ids, pictures):
    prompt = "a barn whose negative prompt is blank"
    server.queue(index(pictures("mixing-blank", 1, prompt=prompt, negative=" ")))
    [hit] = server.queue(search_by_prompt(prompt, top_k=1, filter_text="folder:mixing-blank")).outputs["search"]["hits"]
    with pytest.raises(PromptError, match="No negative prompt is known"):
        run(server, push=push(str(hit["image_id"])), seen=values(["push", 2]))
    outputs = run(server, push=push(f"{ids['fox']} {hit['image_id']}"), labels=values(["push", 3]))
    assert outputs["labels"]["values"] == [f"{ids['fox']} away from its negative by 0.50", f"{hit['image_id']} as it is"]


NODES = {"mix": mix, "interpolate": interpolate, "push": push, "load": load}


@pytest.mark.parametrize("name", NODES)
def test_another_clip_encodes_all_texts_itself_and_each_node_says_so(server, ids, name):
    several = f"{ids['fox']} {ids['city']}"
    other = node("StandInCheckpoint", seed=7)
    graph = {"other": other, "node": NODES[name](several, clip=["other", 1]), "mine": NODES[name](several), "seen": values(["node", 2])}
    outputs = run(server, **graph, probe=probe(["node", 0], ["mine", 0]))
    assert "positive: exact, encoded now with the connected CLIP, which is another encoder" in outputs["node"]["text"][0]
    assert "from stored" not in outputs["node"]["text"][0]
    assert "another encoder" not in outputs["mine"]["text"][0]
    assert all(one["difference"] > 0.01 * one["largest"] for one in outputs["probe"]["states"])


def test_what_is_approximated_among_exact_ones_is_named(server, ids, pictures):
    prompt = "a lighthouse of which no token states are stored"
    server.queue(index(pictures("mixing-approximate", 1, prompt=prompt, negative=TEXTS["fox"][1]), token_state_budget=0.0))
    [hit] = server.queue(search_by_prompt(prompt, top_k=1, filter_text="folder:mixing-approximate")).outputs["search"]["hits"]
    outputs = run(server, mix=mix(f"{ids['fox']} {hit['image_id']}"), seen=values(["mix", 2]))
    lines = outputs["mix"]["text"][0].splitlines()
    assert any(line.startswith("positive: exact, from stored") and line.endswith(f"(#{ids['fox']})") for line in lines)
    assert any(line.startswith("positive: APPROXIMATION") and line.endswith(f"(#{hit['image_id']})") for line in lines)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda fox, city: mix(""), "No images are chosen"),
        (lambda fox, city: mix("a fox"), "'a' is no image id"),
        (lambda fox, city: mix(f"{fox} {city}", weights="1"), "There are 1 weights for 2 images"),
        (lambda fox, city: mix(f"{fox} {city}", weights="1, -1"), "To lead away from an image, use Push Away"),
        (lambda fox, city: mix(f"{fox} {city}", weights="0 0"), "All weights are 0"),
        (lambda fox, city: mix(f"{fox} {city}", weigh_by="weights x score"), "only hits have one"),
        (lambda fox, city: mix(f"{fox}", clip_l_ids="x"), "'x' is no image id"),
        (lambda fox, city: interpolate(f"{fox}"), "Choose two or more"),
        (lambda fox, city: interpolate(f"{fox} {city} {fox + city}", steps=2), "Raise steps to 3 or more, or give fewer images"),
        (lambda fox, city: push(f"{fox}", disliked_ids=f"{fox}"), "can't be moved away from itself"),
        (lambda fox, city: load(f"{fox} 999999"), "no image 999999"),
    ],
)
def test_what_can_not_be_made_says_why_and_what_to_do(server, ids, make, message):
    with pytest.raises(PromptError, match=message):
        run(server, node=make(ids["fox"], ids["city"]), seen=values(["node", 2]))
