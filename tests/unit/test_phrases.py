"""Prompts taken apart into phrases: every sign of weights and of user interfaces goes, what a person means stays."""

from __future__ import annotations

import subprocess
import sys

import pytest
from diffusion_toolkit.embedders import phrases
from diffusion_toolkit.embedders.phrases import MOST_WORDS, as_prompt, key_of, phrases_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text, found",
    [
        ("a red fox, deep snow,  golden hour", ["a red fox", "deep snow", "golden hour"]),
        ("(best quality) (night:1.3) (darkness), ((stars))", ["best quality", "night", "darkness", "stars"]),
        ("a (red:1.2) car, [blue sky], (tree:-.5)", ["a red car", "blue sky", "tree"]),
        ("[cat:dog:0.5], [a tree:0.3], {oak|pine}", ["cat", "dog", "a tree", "oak", "pine"]),
        ("<lora:foo:0.8> by greg \\(artist\\), embedding:bad:1.2, blurry", ["by greg (artist)", "blurry"]),
        ("a castle::2 sea::1 --ar 16:9 --v 5 --no text, logo --s 4", ["a castle", "sea"]),
        ("1.3::rain::, {{snow}}, __weather__", ["rain", "snow"]),
        ("a fox BREAK the sea AND a ship", ["a fox", "the sea", "a ship"]),
        ("A fox runs. Snow falls! and it is cold", ["A fox runs", "Snow falls", "it is cold"]),
        ("f/1.8, 35mm, 8k, 1.5", ["f/1.8", "35mm", "8k"]),
        ("雪山，日落、湖", ["雪山", "日落", "湖"]),
        ("long_hair, Long hair, long hair.", ["long_hair"]),
        ("Every line--the wings--is sharp", ["Every line--the wings--is sharp"]),
        ("a band AND The Andes, break dance", ["a band", "The Andes", "break dance"]),
        ("a fox 1.5 :: -2 , 12::rain ::, 3 :: snow", ["a fox", "rain", "snow"]),
        ('a sign reading "Lens", a "red" fox', ['a sign reading "Lens"', 'a "red" fox']),
        ('showing "ComfyUI, glowing sign reading "Lens, cinematic', ["showing ComfyUI", "glowing sign reading Lens", "cinematic"]),
        ('"Lens" on a sign, 24" screen, \u201ca fox\u201d in \u201csnow\u201d', ['"Lens" on a sign', '24" screen', "\u201ca fox\u201d in \u201csnow\u201d"]),
        ("((( , ::, <lora:x:1>", []),
        ("", []),
    ],
)
def test_a_prompt_has_these_phrases(text: str, found: list[str]):
    assert phrases_of(text) == found


def test_a_long_sentence_is_parted_where_its_parts_are_joined():
    text = (
        "a glass filled with glowing fizzy rainbow drink and a small red toy car on top of a table beside a juicy burger in the middle "
        "of a dark forest at night"
    )
    parts = phrases_of(text)
    assert "a small red toy car" in parts and "beside a juicy burger" in parts
    assert all(len(part.split()) <= MOST_WORDS for part in parts)


def test_a_short_phrase_with_a_joining_word_stays_whole():
    assert phrases_of("a girl with a pearl earring in the rain") == ["a girl with a pearl earring in the rain"]


def test_phrases_that_differ_in_writing_alone_have_one_key():
    assert key_of("Blue_eyes!") == key_of("blue  eyes") != key_of("blue eye")


def test_brackets_of_a_name_are_no_weights_in_the_prompt_made_of_it():
    assert as_prompt(phrases_of("fate \\(series\\), 1girl")) == "fate \\(series\\), 1girl"


def test_a_long_run_of_anything_takes_no_time():
    """In a process of its own, since a pattern that takes minutes can't be stopped: `re` holds the interpreter's lock."""
    runs = ["(", "[", "\\(", "<lora:", "::", "--no ", "{a|", "[a:", "1.", "a   ", "--a ", "_"]
    runs += [" ", "\n", " \n", "\t\n ", "1", "1 ", "-1", ":1 ", " --a", "[ :5]", "and ", ") ", "a AND "]
    code = f"""if True:
        import runpy, sys
        phrases_of = runpy.run_path(sys.argv[1])["phrases_of"]
        for run in {runs!r}:
            print(repr(run), flush=True)
            phrases_of(run * 20_000)
            phrases_of("a" + run * 20_000 + "b")
    """
    subprocess.run([sys.executable, "-c", code, phrases.__file__], check=True, timeout=60, capture_output=True)


def test_what_stands_after_many_spaces_is_read():
    assert phrases_of("a fox" + " " * 30_000 + "runs,\n" + "\n \t" * 20_000 + "snow") == ["a fox runs", "snow"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.text(max_size=300))
def test_the_phrases_of_a_prompt_of_phrases_are_these(text: str):
    found = phrases_of(text)
    assert len({key_of(phrase) for phrase in found}) == len(found)
    assert all(phrase == phrase.strip() and "," not in phrase for phrase in found)
