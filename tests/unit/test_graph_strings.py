"""Strings that nodes make of others are evaluated as the nodes would; what was made at run time is unknown."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import Trace, matching, trace
from host.sampled_graphs import basic, node


def traced(text: dict[str, Any], types: dict[str, list[str]] | None = None, **nodes: dict[str, Any]) -> Trace:
    return trace(
        basic(pos=node("CLIPTextEncode", text=["text", 0], clip=["ckpt", 1]), text=text, **nodes), types=types or {}
    )


def read(
    text: dict[str, Any], types: dict[str, list[str]] | None = None, **nodes: dict[str, Any]
) -> tuple[str | None, str]:
    found = traced(text, types, **nodes)
    return found.positive[0][0] if found.positive else None, found.positive_origin.confidence


STRING = node("PrimitiveString", value="a red fox")


@pytest.mark.parametrize(
    ("made", "inputs", "result"),
    [
        ("StringConcatenate", {"string_a": ["s", 0], "string_b": "in snow", "delimiter": ", "}, "a red fox, in snow"),
        ("Join", {"text2": "in snow", "text1": ["s", 0], "separator": "\\n"}, "a red fox\nin snow"),
        ("Join", {"text10": "c", "text2": "b", "text1": "a", "delimiter": "-"}, "a-b-c"),
        ("Join", {"text_a": " x ", "text_b": "", "text_c": "y ", "delimiter": ",", "clean_whitespace": "true"}, "x,y"),
        ("CombinePrompt", {"part1": ["s", 0], "part2": "in snow", "separator": ", "}, "a red fox, in snow"),
        ("AddPrefix", {"prefix": "photo of ", "texts": ["s", 0]}, "photo of a red fox"),
        ("AddSuffix", {"texts": ["s", 0], "suffix": " in snow"}, "a red fox in snow"),
        ("StringReplace", {"string": ["s", 0], "find": "fox", "replace": "cat"}, "a red cat"),
        ("Replace", {"text": ["s", 0], "find1": "fox", "replace1": "cat", "find2": "red", "replace2": "blue"}, "a blue cat"),
        ("StringSubstring", {"string": ["s", 0], "start": 2, "end": 5}, "red"),
        ("CaseConverter", {"string": ["s", 0], "mode": "UPPERCASE"}, "A RED FOX"),
        ("StringTrim", {"string": "  x  ", "mode": "Both"}, "x"),
        ("StringFormat", {"f_string": "{a} and {b}", "values.a": ["s", 0], "values.b": 7}, "a red fox and 7"),
        ("StringFormat", {"f_string": "{a:.3f}, {b:02d}", "values.a": 0.5, "values.b": 7}, "0.500, 07"),
        ("JsonExtractString", {"json_string": '{"k": "a fox"}', "key": "k"}, "a fox"),
        ("RegexReplace", {"string": ["s", 0], "regex_pattern": r"(\w+) fox", "replace": r"\1 cat"}, "a red cat"),
        ("RegexExtract", {"string": ["s", 0], "regex_pattern": "R.D", "mode": "First Match"}, "red"),
        ("RegexExtract", {"string": ["s", 0], "regex_pattern": "a (.*) fox", "mode": "First Group", "group_index": 1}, "red"),
        ("RegexExtract", {"string": ["s", 0], "regex_pattern": r"\w+", "mode": "All Matches"}, "a\nred\nfox"),
        ("RegexExtract", {"string": ["s", 0], "regex_pattern": "x(.)", "mode": "All Groups"}, ""),
        ("Switch", {"switch": True, "on_true": ["s", 0], "on_false": ["t", 0]}, "a red fox"),
        ("Switch", {"switch": False, "on_false": "a red fox", "on_true": ["t", 0]}, "a red fox"),
        ("Switch", {"switch": ["yes", 0], "on_false": ["t", 0], "on_true": "a red fox"}, "a red fox"),
        ("Switch", {"switch": True, "on_false": "a dog", "on_true": "a red fox"}, "a red fox"),
        ("Switch", {"boolean": False, "text_a": ["t", 0], "text_b": ["s", 0]}, "a red fox"),
        ("IndexSwitch", {"index": 1, "value0": ["t", 0], "value1": ["s", 0]}, "a red fox"),
        ("Switch", {"switch": ["yes", 0], "on_true": ["s", 0], "on_false": ["t", 0]}, "a red fox"),
        ("Select", {"select": "text_b", "text_a": "a dog", "text_b": "a red fox"}, "a red fox"),
        ("Combo", {"choice": "a red fox", "option1": "a dog", "option2": "a red fox", "index": 1}, "a red fox"),
        ("Function", {"action": "append", "tidy_tags": "yes", "text_a": ["s", 0], "text_b": "in  snow ,", "text_c": ""}, "a red fox, in snow,"),
        ("Function", {"action": "append", "tidy_tags": "no", "text_a": ["s", 0], "text_b": " in snow"}, "a red fox in snow"),
        ("Function", {"action": "replace", "tidy_tags": "no", "text_a": ["s", 0], "text_b": "red", "text_c": "blue"}, "a blue fox"),
        ("Constant", {"string": "a red\nfox ", "strip_newlines": True}, "a redfox"),
        ("Constant", {"string": "a red\nfox", "strip_newlines": False}, "a red\nfox"),
        ("Reroute", {"": ["s", 0]}, "a red fox"),
        ("PreviewAny", {"source": ["s", 0]}, "a red fox"),
    ],
)  # fmt: skip
def test_operation_is_done_as_its_node_does_it(made: str, inputs: dict[str, Any], result: str) -> None:
    others = {"s": STRING, "t": node("PrimitiveString", value="a dog"), "yes": node("PrimitiveBoolean", value=True)}
    assert read(node(made, **inputs), **others) == (result, "exact")


def test_texts_of_a_node_that_nobody_knows_are_joined_and_inferred() -> None:
    assert read(node("Odd", text_a="a fox", text_b="in snow")) == ("a fox in snow", "inferred")


@pytest.mark.parametrize("beside", [{"b": "in snow"}, {"prefix": "photo of", "suffix": "in snow"}, {"bar": "in snow", "baz": ""}])
def test_text_behind_a_link_of_a_node_with_other_words_is_inferred(beside: dict[str, str]) -> None:
    assert read(node("Mixer", body=["s", 0], **beside), s=STRING) == ("a red fox", "inferred")
    assert read(node("Mixer", body=["s", 0], mode="x", on="true", baz=" "), s=STRING) == ("a red fox", "exact")


@pytest.mark.parametrize("node_", [node("Selector", strings="a fox\na cat", select=1), node("Text Random Line", text="a fox\na cat", seed=3)])
def test_text_of_which_a_node_may_take_one_line_is_inferred(node_: dict[str, Any]) -> None:
    assert read(node_) == ("a fox\na cat", "inferred")


@pytest.mark.parametrize("node_", [node("Selector", strings="a fox", select=1), node("Text Random Line", text="a fox\n", seed=3)])
def test_its_only_line_is_the_text(node_: dict[str, Any]) -> None:
    assert read(node_)[1] == "exact"


LANGUAGE_MODEL = node("Enhance", prompt="a fox", temperature=0.7)


@pytest.mark.parametrize(
    ("inputs", "known"),
    [
        ({"f_string": "{a} in {b}", "values.a": ["llm", 0], "values.b": "snow"}, " in snow"),
        ({"string": "a NAME in snow", "find": "NAME", "replace": ["llm", 0]}, "a NAME in snow"),
        ({"prefix": ["llm", 0], "text": " in snow"}, " in snow"),
    ],
)
def test_text_into_which_one_goes_that_was_made_at_run_time_is_unknown(inputs: dict[str, Any], known: str) -> None:
    assert read(node("Odd", **inputs), llm=LANGUAGE_MODEL) == (known, "unknown")


def test_text_into_which_an_inferred_one_goes_is_inferred() -> None:
    odd = node("Odd", text_a="a", text_b="fox")
    assert read(node("Replace", string="x in snow", find="x", replace=["odd", 0]), odd=odd) == ("a fox in snow", "inferred")


def test_number_that_is_not_known_leaves_a_gap_in_a_format_and_the_text_inferred() -> None:
    counted = node("Count", image=["ckpt", 0])
    format_ = node("StringFormat", **{"f_string": "{a} foxes", "values.a": ["n", 0]})
    assert read(format_, {"Count": ["INT"]}, n=counted) == (" foxes", "inferred")


def test_place_of_a_choice_among_options_is_a_number() -> None:
    combo = node("Combo", choice="b", option1="a", option2="b", index=1)
    pick = node("IndexSwitch", index=["combo", 1], value0=["t", 0], value1=["s", 0])
    others = {"combo": combo, "s": STRING, "t": node("PrimitiveString", value="a dog")}
    assert read(pick, {"Combo": ["STRING", "INT"]}, **others) == ("a red fox", "exact")


def test_format_with_a_width_is_not_done_and_inferred() -> None:
    assert read(node("StringFormat", **{"f_string": "{a:>99999999}", "values.a": "x"}))[1] == "inferred"


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", r"(\w+)\1+", "(?:a?){50}b", "(.*)(.*)(.*)(.*)x", "(?=(a+))+b", r"(a*)\1b"]
)
def test_pattern_that_could_run_for_years_is_not_run(pattern: str) -> None:
    assert read(node("RegexReplace", string="a" * 5_000, regex_pattern=pattern, replace="")) == (
        "a" * 5_000,
        "inferred",
    )


def test_pattern_is_read_without_a_change_of_what_other_threads_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read by several threads, and `warnings.catch_warnings` is for one: two at once may leave a process without any."""
    seen: list[list[Any]] = []
    parse = matching.parser.parse
    monkeypatch.setattr(matching.parser, "parse", lambda *of: seen.append(list(warnings.filters)) or parse(*of))
    assert read(node("RegexExtract", string="a [red fox", regex_pattern="[[]red", mode="First Match")) == ("[red", "exact")
    assert seen and all(filters == warnings.filters for filters in seen)


def test_run_of_a_language_model_is_unknown_and_names_what_it_was_given() -> None:
    made = traced(node("Enhance", prompt="a fox", max_tokens=90, temperature=0.7))
    assert (made.positive, made.positive_origin.confidence) == ([], "unknown")
    assert made.positive_origin.where == 'node text (Enhance) made it when the graph ran, given "a fox"'


@pytest.mark.parametrize("taken", ["image", "clip", "model", "audio"])
def test_text_made_of_a_picture_or_by_a_model_is_unknown(taken: str) -> None:
    assert read(node("Describe", text="describe this", **{taken: ["ckpt", 0]})) == (None, "unknown")


def test_node_that_hands_its_model_on_does_not_make_the_text() -> None:
    tagged = node("LoraTags", text="a fox <lora:x:1>", model=["ckpt", 0], clip=["ckpt", 1])
    types = {"LoraTags": ["STRING", "MODEL", "CLIP"], "CheckpointLoaderSimple": ["MODEL", "CLIP", "VAE"]}
    assert read(tagged, types)[0] == "a fox <lora:x:1>"


def test_known_half_of_a_concatenation_is_kept_and_the_whole_unknown() -> None:
    whole = node("StringConcatenate", string_a="photo of", string_b=["llm", 0], delimiter=" ")
    assert read(whole, llm=node("Enhance", prompt="a fox", temperature=1.0)) == ("photo of", "unknown")


def test_what_a_wildcard_became_is_exact_where_it_is_kept() -> None:
    wild = node("Wildcards", wildcard_text="a __animal__", populated_text="a fox", mode="populate", seed=3)
    assert read(wild) == ("a fox", "exact")


@pytest.mark.parametrize("pattern", ["a {red|blue} fox", "a __colour__ fox"])
def test_pattern_of_a_wildcard_that_nothing_kept_is_unknown(pattern: str) -> None:
    assert read(node("Wildcards", text=pattern, seed=3)) == (pattern, "unknown")


def test_same_pattern_without_a_seed_is_the_text() -> None:
    assert read(node("PrimitiveString", value="a {red|blue} fox")) == ("a {red|blue} fox", "exact")


def test_display_on_the_way_keeps_what_was_made() -> None:
    shown = node("ShowText", text=["llm", 0], text_0="a fox in snow")
    assert read(shown, llm=node("Enhance", prompt="a fox", temperature=1.0)) == ("a fox in snow", "inferred")


def test_display_beside_the_way_keeps_what_was_made() -> None:
    llm, shown = (
        node("Enhance", prompt="a fox", temperature=1.0),
        node("ShowText", text=["text", 0], text_0="a fox in snow"),
    )
    assert read(llm, shown=shown) == ("a fox in snow", "inferred")


def test_display_keeps_what_was_read_from_a_file() -> None:
    shown = node("ShowText", text=["file", 0], text_0="a fox in snow")
    assert read(shown, file=node("LoadLine", path="prompts.txt", line=3)) == ("a fox in snow", "inferred")


def test_display_of_a_text_that_is_known_is_not_believed() -> None:
    assert read(node("ShowText", text=["s", 0], text_0="of an earlier run"), s=STRING) == ("a red fox", "exact")


def test_styler_gives_each_side_at_its_output() -> None:
    styler = node("Styler", text_positive="a fox", text_negative="blurry", style="base")
    graph = basic(
        s=styler,
        pos=node("CLIPTextEncode", text=["s", 0], clip=["ckpt", 1]),
        neg=node("CLIPTextEncode", text=["s", 1], clip=["ckpt", 1]),
    )
    found = trace(graph)
    assert (found.positive, found.negative) == ([("a fox", "a fox")], [("blurry", "blurry")])


def test_several_places_are_named_and_their_number_is_bounded() -> None:
    parts = {f"s{i}": node("PrimitiveString", value=f"w{i}") for i in range(40)}
    joined = node("Join", delimiter=" ", **{f"text{i}": [f"s{i}", 0] for i in range(40)})
    where = traced(joined, **parts).positive_origin.where
    assert where.startswith("node s0 (PrimitiveString) value; node s1 (PrimitiveString) value") and len(where) < 400


def test_control_characters_of_the_file_stay_out_of_the_origin() -> None:
    where = trace(basic(pos=node("En\x00co\ud800de\n", text="a fox", clip=["ckpt", 1]))).positive_origin.where
    assert where == "node pos (En\ufffdco\ufffdde\ufffd) text"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("DPJinja", "{{ choice('a', 'b') }} fox"),
        ("Jinja", "{% if x %}a{% endif %} fox"),
        ("Random Prompts", "a {(red:1.2)|blue\n} fox"),
    ],
)
def test_pattern_of_a_node_that_draws_by_its_name_is_unknown(kind: str, text: str) -> None:
    assert read(node(kind, text=text)) == (text, "unknown")
    assert read(node("Text", text=text)) == (text, "exact")


def test_json_with_a_bar_is_no_pattern() -> None:
    assert read(node("Text", text='{"style": "a|b"}', seed=1)) == ('{"style": "a|b"}', "exact")


def test_text_with_a_line_that_may_be_a_comment_is_inferred() -> None:
    assert read(node("Multiline", text="a fox\n # red\nin snow"))[1] == "inferred"
    assert read(node("Multiline", text="fox #1"))[1] == "exact"


@pytest.mark.parametrize("name", ["zipped_prompt", "joined"])
def test_what_two_texts_were_put_into_gives_each_at_its_output(name: str) -> None:
    apart = node("Unzip", **{name: ["both", 0]})
    both = node("Zip", positive="a fox", negative="blurry", name_opt="")
    found = trace(
        basic(
            pos=node("CLIPTextEncode", text=["apart", 0], clip=["ckpt", 1]), neg=node("CLIPTextEncode", text=["apart", 1], clip=["ckpt", 1]),
            apart=apart, both=both,
        ),
        types={"Unzip": ["STRING", "STRING", "STRING"], "Zip": ["ZIPPED_PROMPT"]},
    )  # fmt: skip
    assert (found.positive, found.negative) == ([("a fox", "a fox")], [("blurry", "blurry")])


def test_node_that_takes_more_than_that_gives_what_its_links_bring() -> None:
    mixed = node("Mixed", text_a=["both", 0], text_b=["s", 0])
    text, both = node("CLIPTextEncode", text=["mixed", 1], clip=["ckpt", 1]), node("Zip", positive="a fox", negative="blurry")
    found = trace(basic(pos=text, mixed=mixed, both=both, s=STRING))
    assert found.positive == [("a fox a red fox", "a fox a red fox")]


@pytest.mark.parametrize(("taken", "given", "known"), [(0, 0, True), (1, 0, False), (0, 1, True)])
@pytest.mark.parametrize("name", ["text", "joined"])
def test_text_that_is_taken_from_one_of_two_stays_that_text(name: str, taken: int, given: int, known: bool) -> None:
    graph = basic(neg=node("CLIPTextEncode", text=["on", given], clip=["ckpt", 1]), on=node("Trim", **{name: ["both", taken]}))
    graph |= {"both": node("Style", positive="a fox", negative="blurry")}
    found = trace(graph, types=dict.fromkeys(("Style", "Trim"), ["STRING", "STRING"]) if known else {})
    assert found.negative == [(("a fox", "blurry")[taken],) * 2]


def test_only_what_holds_two_texts_is_taken_apart() -> None:
    graph = basic(neg=node("CLIPTextEncode", text=["on", 1], clip=["ckpt", 1]), on=node("Trim", text=["mid", 0]), mid=node("Trim", text=["both", 0]))
    assert trace(graph | {"both": node("Style", positive="a fox", negative="blurry")}).negative == [("a fox", "a fox")]


def test_words_that_are_switched_off_in_a_list_are_left_out_and_the_rest_is_inferred() -> None:
    words = [{"text": "furry", "active": True}, {"text": "red", "active": False}, {"text": "wild", "active": True}]
    assert read(node("Toggle", toggle_trigger_words=words, trigger_words=["loader", 2]), loader=node("Loader")) == ("furry, wild", "inferred")


def test_trigger_words_beside_an_encoder_s_text_are_of_the_prompt_and_their_place_is_inferred() -> None:
    found = trace(basic(pos=node("Prompt", text="a fox", trigger_words1=["s", 0], clip=["ckpt", 1]), s=node("String", value="furry")))
    assert {text for text, _ in found.positive} == {"a fox", "furry"}
    assert found.positive_origin.confidence == "inferred"
