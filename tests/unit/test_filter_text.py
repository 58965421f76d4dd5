"""Filter texts: what is understood, and what is said where not. What passes is tried in tests/db/test_filters.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters.fields import ALIASES, FIELDS
from host.comfy_models import import_comfy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def texts():
    import_comfy()
    from diffusion_toolkit.nodes.search import filter_text

    return filter_text


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("cat stps:20", 4, "there is no field 'stps'. Did you mean steps?"),
        ("cat (dog", 8, "a parenthesis is not closed"),
        ("cat) dog", 3, "nothing to close"),
        ("cat ()", 5, "something must stand before this parenthesis"),
        ('cat "dog', 4, "the quotation mark is not closed"),
        ("label:", 6, "a value is missing"),
        ("steps:>", 7, "a value is missing"),
        ("cat or", 6, "something must follow"),
        ("or cat", 0, "or stands between two conditions"),
        ("cat (AND dog)", 5, "AND stands between two conditions"),
        ("cat or or dog", 7, "or stands between two conditions"),
        ("cat | | dog", 6, "| stands between two conditions"),
        ("cat -or", 5, "put it in quotation marks"),
        ("aspect:portriat", 7, "'portriat' is no aspect. Did you mean portrait? aspect takes"),
        ("cat confidence:exat", 15, "Did you mean exact?"),
        ("has:promt", 4, "Did you mean prompt?"),
        ("date:tody", 5, "Did you mean today?"),
        ("rating:rejcted", 7, "Did you mean rejected?"),
        ("since:2025-03", 0, "Write date:>=2025-03, or age:7d."),
        ("until:7d", 0, "Write date:<=2025-03, or age:>7d."),
        ("age:..", 4, "a range needs an end"),
        ("cat - dog", 4, "the minus must stand directly before"),
        ("16:9", 2, "a field must stand before this"),
        ("steps:many", 6, "'many' is no whole number"),
        ("steps:20.5", 6, "steps takes a whole number"),
        ("cat date:2025-13", 9, "'2025-13' is no date"),
        ("date:2025-02-30", 5, "is no date"),
        ("steps:..", 6, "a range needs an end"),
        ("cat steps:30..20", 10, "30..20 is back to front: write 20..30. steps takes"),
        ("date:2026..2020", 5, "2026..2020 is back to front: write 2020..2026. date takes"),
        ("date:today..2020-03", 5, "today..2020-03 is back to front: write 2020-03..today. date takes"),
        ("date:2025-03-14..2025-03-13", 5, "back to front: write 2025-03-13..2025-03-14"),
        ("age:1mo..7d", 4, "1mo..7d is back to front: write 7d..1mo. age takes"),
        ("rating:3..rejected", 7, "3..rejected is back to front: write rejected..3. rating takes"),
        ("aspect:16:9..1:1", 7, "16:9..1:1 is back to front: write 1:1..16:9"),
        ("filesize:2MB..500kB", 9, "back to front: write 500kB..2MB"),
        ("filesize:1..5MB", 9, "1 would be bytes: write 1MB, or 1b. filesize takes"),
        ("filesize:1..2GiB", 9, "1 would be bytes: write 1GiB, or 1b."),
        ("filesize:0.4..5MB", 9, "0.4 would be bytes: write 0.4MB, or 0.4b."),
        ("filesize:1MB..5", 9, "5 would be bytes: write 5MB. filesize takes"),
        ("cat filesize:0.5gib..0.9", 13, "0.9 would be bytes: write 0.9gib. filesize takes"),
        ("filesize:5MB..1", 9, "1 would be bytes: write 1MB."),
        ("filesize:1MB..0", 9, "1MB..0 is back to front: write 0..1MB."),
        ("filesize:9b..5", 9, "9b..5 is back to front: write 5..9b."),
        ("steps:>1..2", 7, "a range can't stand after >"),
        ("size:big", 5, "no size in pixels"),
        ("aspect:0:1", 7, "no aspect"),
        ("age:soon", 4, "no age"),
        ("rating:6", 7, "no rating"),
        ("rating:7", 7, "no rating"),
        ("rating:-2", 7, "no rating"),
        ("cat rating:4 stars", 13, "'stars': this is no part of rating:4, but a word of the prompt. Write rating:4 alone, or for the word \"stars\"."),
        ("-stars: >=4 Stars dog", 12, "Write stars: >=4 alone, or for the word \"Stars\"."),
        ("rating:4,5 stars or cat", 11, "Write rating:4,5 alone"),
        ("filesize:>2 MB", 12, "Write filesize:>2MB, or for the word \"MB\"."),
        ("filesize:1..2 mb", 14, "Write each number with its unit, as filesize:1MB..2MB, or"),
        ("filesize:>2MB g", 14, "Write each number with its unit"),
        ("filesize:>2 bytes", 12, "Write filesize:>2 alone"),
        ("width:1024 px", 11, "Write width:1024 alone"),
        ("aspect:>portrait", 8, "portrait can't be compared with >"),
        ("filesize:5xb", 9, "'5xb' is no size (such as 500kB or 2.5MB)"),
        ("seed:1" + "0" * 20, 5, "no whole number that it can have"),
        ("cfg:1" + "0" * 20, 4, "is no number"),
        ("date:1800", 5, "'1800' is no date"),
        ("date:8999", 5, "'8999' is no date"),
        ("has:teeth", 4, "nothing that has: knows"),
        ("label>cat", 0, "label can't be compared with >"),
        ('label:""', 6, "the value of label is empty"),
        ('cat -label:draft,""', 17, "For images without one write -has:label."),
        ('negative:""', 9, "the value of negative is empty. It takes words of the negative prompt, with * for any ending. For images without one write -has:negative."),
        ('prompt=" "', 7, "write -has:prompt."),
        ('prompt:"!?"', 7, "there is no word"),
        ("prompt:" + "x" * 300, 7, "a word is longer than"),
        ("label:" + "x" * 201, 6, "longer than 200 characters"),
        ("file:" + "a*" * 20, 5, "more than 10 stars"),
        ("file:" + "a" * 301, 5, "longer than 300 characters"),
        ("order:date", 0, "Search Options"),
        ("x" * 5000, 4000, "longer than 4000"),
        ("x" * 4001, 4000, "longer than 4000"),
        ("file:" + "a*" * 11, 5, "more than 10 stars"),
        ("seed:" + ",".join("1" * 1 for _ in range(200)), 0, "more than 100 conditions"),
        ("cat seed:" + ",".join("1" * 100), 4, "more than 100 conditions"),
        ("-(" * 40 + "cat" + ")" * 40, 0, "nest deeper"),
        ("-(" * 31 + "cat" + ")" * 31, 0, "nest deeper"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, place: int, says: str) -> None:
    with pytest.raises(db.FilterError) as caught:
        db.parse_filter(text)
    assert (caught.value.position, caught.value.text) == (place, text) and says in str(caught.value)


@pytest.mark.parametrize("text", ["((((cat))))", "\u201cblue sky\u201d", "cat, dog", "R&B", "close-up", "model:foo(v2).safetensors", "C++", "label: cat", "steps > 20", "or-ange", "order", '"or" cat', "label:or", "steps:20..20", "date:2025..2025-03", "date:2025-03..2025", "age:7d..7d", 'rating:4 "stars"', "rating:4 (stars)", "rating:4 and stars", "stars rating:4", "rating:4 starry stars", "rating:5 star wars", "size:1024x1024 pixel art"])
def test_what_people_write_is_understood(text: str) -> None:
    assert db.parse_filter(text)


@pytest.mark.parametrize(
    "text",
    [
        "date:1801", "date:8998", "seed:" + "9" * 20, "rating:rejected..5", "file:" + "a" * 300, "file:" + "a*" * 10, "label:" + "x" * 200,
        "seed:" + ",".join("1" * 100), "-(" * 30 + "cat" + ")" * 30, "seed:1" + " " * 3994,
    ],
)  # fmt: skip
def test_what_is_just_not_too_much_is_understood(text: str) -> None:
    assert db.parse_filter(text)


def test_quotation_marks_of_word_processors_quote_too() -> None:
    assert db.parse_filter("\u201cblue sky\u201d").parameters == db.parse_filter('"blue sky"').parameters


def test_an_empty_filter_is_false_and_others_are_true() -> None:
    assert not db.parse_filter("  ") and db.parse_filter("cat")
    assert not db.all_of([]) and not db.all_of([db.parse_filter("")])
    assert db.all_of([db.parse_filter(""), db.parse_filter("cat")]).text == "cat"


def test_words_side_by_side_are_one_look_at_the_index() -> None:
    found = db.parse_filter("cat steps:20 (dog or fish) negative:blurry negative:bad")
    assert len(found.parameters) == 3 and found.condition.as_string(None).count("words_of") == 2


def test_a_filter_that_hangs_on_today_says_so() -> None:
    assert [db.parse_filter(text).moving for text in ("date:today", "indexed:<Yesterday", "-age:7d", "date:2025", "today")] == [True, True, True, False, False]
    today, cat = db.parse_filter("date:today"), db.parse_filter("cat")
    assert db.all_of([cat, db.all_of([cat, today])]).moving and not db.all_of([cat, cat]).moving


def test_every_field_and_alias_is_on_the_help_page() -> None:
    page = (Path(__file__).parents[2] / "web/docs/DiffusionToolkitFilterImages.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", page.partition("| field | takes |")[2]))
    assert FIELDS.keys() - named == set()
    assert set(ALIASES.values()) <= FIELDS.keys()


def test_the_examples_of_the_help_page_are_filters() -> None:
    page = (Path(__file__).parents[2] / "web/docs/DiffusionToolkitFilterImages.md").read_text(encoding="utf-8")
    language = page.partition("## The filter text")[2]
    quoted = [text.replace("\\|", "|") for text in re.findall(r"`([^`\n]+)`", language)]
    examples = [text for text in quoted if re.match(r"-?[a-z]+\W*[:=<>]\W*\w", text) and not re.match("-?field", text)]
    assert len(examples) >= 30
    for text in [*examples, re.search(r"^    (.*)$", language, re.MULTILINE)[1]]:
        assert db.parse_filter(text)


def test_widgets_make_one_filter_text(texts) -> None:
    text = texts.filter_text(
        words='cat, "blue sky" -ugly', labels="cat, -draft", namespace="Client A", folder="2025/a b", checkpoint="*xl*", lora='say "hi"',
        lowest_rating=3, aspect="portrait", since="7d", until="2025-03", more="steps:20 or seed:1",
    )  # fmt: skip
    assert text == (
        'prompt:"cat," prompt:"blue sky" -prompt:"ugly" label:"cat" -label:"draft" namespace:"Client A" folder:"2025/a b" checkpoint:"*xl*" '
        'lora:"say ""hi""" rating:>=3 aspect:portrait age:<="7d" date:<="2025-03" (steps:20 or seed:1)'
    )
    assert db.parse_filter(text)
    assert texts.filter_text(folder=r'"D:\pictures\a b" ') == r'folder:"D:\pictures\a b"'
    assert texts.filter_text(labels="c-, -d-, - e,--f") == 'label:"c-" -label:"d-" -label:"e" -label:"-f"'
    assert texts.filter_text() == "" and texts.filter_text(more="a or b") == "a or b"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.text(), st.text(), st.text(), st.text())
@example("", "\u201c", "\uff02", "\u201c\u201c\u201c")  # a filter text reads these as quotation marks
def test_widgets_never_break_out_of_their_field(texts, words: str, labels: str, folder: str, lora: str) -> None:
    text = texts.filter_text(words=words, labels=labels, folder=folder, lora=lora, more="seed:7")
    try:
        found = db.parse_filter(text)
    except db.FilterError as error:
        assert any(said in str(error) for said in ("no word", "is empty", "longer", "more than 100")), error
    else:
        assert 7 in found.parameters.values()


def test_a_node_that_asks_for_today_looks_again(texts) -> None:
    assert texts.moment_of(["date:today"]) and texts.moment_of(["", "age:7d"]) and texts.moment_of(["cat", ""]) == ""


def test_a_node_looks_again_for_a_date_alone_and_not_for_the_word(texts) -> None:
    assert texts.moment_of(["date:yesterday"]) == texts.moment_of(["AGE:>1y"]) != ""
    assert texts.moment_of(["today yesterday 'age' label:today", "date:soon"]) == ""


def test_a_node_whose_filter_is_linked_looks_again(texts) -> None:
    """What is linked is None before it runs: it may ask for today."""
    from diffusion_toolkit.nodes.search.hits import search_fingerprint

    assert texts.moment_of([None])
    moments = [search_fingerprint(library=None, **given).partition(" ")[2] for given in ({"filter_text": None}, {"filter_text": "cat"}, {})]
    assert moments[0] and moments[1:] == ["", ""]


@pytest.mark.parametrize(
    ("given", "looks_again"),
    [
        ({"since": "today"}, True),
        ({"until": " Yesterday"}, True),
        ({"since": "7d", "until": "2d"}, True),
        ({"since": "2025-03-14T12:30", "until": "2026", "filter_text": "rating:5", "words": "today"}, False),
        ({"since": "soon"}, False),
        ({"filter_text": "age:7d"}, True),
        ({"since": None, "until": ""}, True),
        ({"until": None}, True),
        ({"filter_text": None}, True),
        ({"words": None, "folder": None, "filter": None}, False),
        ({}, False),
    ],
)
def test_a_filter_node_looks_again_where_a_date_may_have_moved(texts, given: dict, looks_again: bool) -> None:
    from diffusion_toolkit.nodes.search.filter_images import FilterImages

    assert bool(FilterImages.fingerprint_inputs(**given)) is looks_again


def test_two_signs_join_as_one_does() -> None:
    assert db.parse_filter("cat||dog").parameters == db.parse_filter("cat or dog").parameters
    assert db.parse_filter("cat&&dog").parameters == db.parse_filter("cat dog").parameters


@pytest.fixture(scope="module")
def widgets():
    import_comfy()
    from diffusion_toolkit.nodes.search import filter_images

    return filter_images


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"since": "last week"}, "since can't be 'last week': write a date such as 2025, 2025-03 or 2025-03-14, today, or an age such as 7d"),
        ({"words": "cat", "until": "2025-13"}, "until can't be '2025-13': write a date"),
        ({"labels": "cat, -"}, "labels can't be 'cat, -': the value of label is empty"),
        ({"checkpoint": "x" * 301}, "checkpoint can't be 'x"),
    ],
)
def test_a_mistake_in_a_widget_is_named_by_the_widget(widgets, wishes: dict, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        widgets.text_of("steps:20", wishes)
    assert str(caught.value).startswith(says) and "character" not in str(caught.value).replace("300 characters", "")


@pytest.mark.parametrize(
    ("since", "until", "fits"),
    [
        ("2026-12", "2020", False), ("2021", "2020", False), ("7d", "1mo", False), ("7d", "7d", False), ("today", "3d", False), ("7d", "2020", False),
        ("2020", "2026-12", True), ("2020", "2020", True), (" 2020-03", "2020 ", True), ("1mo", "7d", True), ("2020", "7d", True), ("7d", "today", True),
        ("2026", "", True), ("", "2020", True),
    ],
)  # fmt: skip
def test_since_after_until_is_a_mistake(widgets, since: str, until: str, fits: bool) -> None:
    wishes = {"since": since, "until": until}
    if fits:
        assert db.parse_filter(widgets.text_of("", wishes))
        return
    with pytest.raises(ValueError, match=f"^since '{since}' and until '{until}' leave no time between them. Write the earlier one into since"):
        widgets.text_of("", wishes)


@pytest.mark.parametrize(
    ("words", "hinted"),
    [
        ("cat label:draft", "'label:draft'"), ("-stars>3", "'-stars>3'"), ("(eyes:1.2) 16:9 label: cat", ""),
        ("cat OR dog", "'or'"), ('"now or never" or', ""),
    ],
)  # fmt: skip
def test_a_field_or_an_or_among_words_is_hinted_at(widgets, words: str, hinted: str) -> None:
    assert [hint.split(" in the prompt")[0] for hint in widgets.fields_among(words)] == ([f"words looks for {hinted}"] if hinted else [])
