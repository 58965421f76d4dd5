"""Filters on a real PostgreSQL: which images pass, and that no text at all makes an SQL error."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters.words import PUNCTUATION
from host.filtering import passing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

Passing = Callable[[str], list[int]]


@pytest.fixture
def images(conn: db.Connection, root: int, image: Callable[..., db.ImageRecord]) -> Passing:
    """Four images, 1 to 4, and what of them passes a filter text. The last one tells nothing of itself."""
    cat, dog = db.TextPair("A black CAT, (green_eyes:1.2)", "") , db.TextPair("a dog/wolf by day", "")
    records = [
        image(
            1, path="2025/cats/one.png", prompt=cat, negative=db.TextPair("blurry, bad hands", ""), seed=2**64 - 1, steps=20,
            cfg=7.0, sampler="euler", scheduler="karras", checkpoint="XL/juggernaut_v9.safetensors", generator="ComfyUI",
            loras=[{"name": "styles/Ink (v2).safetensors", "strength_model": 1.0}], width=1344, height=768,
            created=datetime(2025, 3, 14, 12), prompt_confidence="exact", text_encoders=["t5xxl"],
        ),
        image(
            2, path="2025/dog 100%.webp", prompt=dog, seed=2, steps=30, cfg=3.3, sampler="euler_ancestral", width=768, height=1344,
            checkpoint="flux1-dev.gguf", created=datetime(2025, 4, 1), generator="Fooocus", file_size=2_000_000,
            controlnets=[{"name": "canny", "strength": 1.0}], metadata={"workflow": b"{}"},
        ),
        image(3, path="2025-old/x.png", prompt=dog, seed=3, steps=40, width=1000, height=1010, checkpoint="juggernaut"),
        image(4, path="four.jpg", width=512, height=512),
    ]  # fmt: skip
    numbers = {image_id: number for number, image_id in enumerate(db.write_images(conn, root, records), 1)}
    return lambda text: [numbers[image_id] for image_id in passing(conn, db.parse_filter(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("cat", [1]),
        ("black Cat", [1]),
        ("black dog", []),
        ("cat OR dog", [1, 2, 3]),
        ("cat or steps:30", [1, 2]),
        ("-cat", [2, 3, 4]),
        ("not (cat or seed:3)", [2, 4]),
        ("-(dog day)", [1, 4]),
        ('"black cat"', [1]),
        ('"cat black"', []),
        ("green eyes", [1]),
        ("wolf", [2, 3]),
        ("gre*", [1]),
        ("*olf", [2, 3]),
        ("prompt:cat,wolf", [1, 2, 3]),
        ("dog (seed:2 or seed:3) -steps:>=40", [2]),
        ("negative:blurry", [1]),
        ("-negative:blurry", [2, 3, 4]),
        ('negative="blurry, bad hands"', [1]),
        ("seed:18446744073709551615", [1]),
        ("seed:2,3", [2, 3]),
        ("seed!=3", [1, 2, 4]),
        ("steps:20..30", [1, 2]),
        ("steps:..30", [1, 2]),
        ("steps:30..", [2, 3]),
        ("steps>20", [2, 3]),
        ("steps:<=20,40", [1, 2, 3]),
        ("steps:20,40..50", [1, 3]),
        ("-steps:20", [2, 3, 4]),
        ("cfg:3.3", [2]),
        ("cfg:3..7", [1, 2]),
        ("cfg:<7", [2]),
        ("sampler:euler", [1, 2]),
        ("sampler=euler", [1]),
        ("sampler:euler,dpm*", [1, 2]),
        ("checkpoint:JUGGERNAUT", [1, 3]),
        ("checkpoint=juggernaut", [3]),
        ("checkpoint=juggernaut,flux1-dev.gguf", [2, 3]),
        ("checkpoint:jugger*", [3]),
        ("checkpoint:*xl* seed:>3", [1]),
        ("checkpoint:1_dev", []),
        ("model:xl", [1]),
        ("-checkpoint:juggernaut", [2, 4]),
        ("checkpoint:xl,dev", [1, 2]),
        ("checkpoint:xl or sampler:ancestral", [1, 2]),
        ("lora:ink", [1]),
        ("lora:(v2)", [1]),
        ('lora:"ink (v2)"', [1]),
        ("lora:styles/*", [1]),
        ("lora:ink*", []),
        ('lora="styles/Ink (v2).safetensors"', [1]),
        ("-lora:ink", [2, 3, 4]),
        ("controlnet:can", [2]),
        ("encoder:T5", [1]),
        ("generator:comfyui", [1]),
        ("width:>=1344 height:768", [1]),
        ("size:768x1344", [2]),
        ("size:>=768x768", [1, 2, 3]),
        ("aspect:landscape", [1]),
        ("aspect:portrait", [2]),
        ("aspect:square", [3, 4]),
        ("aspect:16:9", [1]),
        ("aspect:>1.5", [1]),
        ("aspect:9:16..1:1", [2, 3, 4]),
        ("megapixels:>1", [1, 2, 3]),
        ("date:2025", [1, 2]),
        ("date:2025-03", [1]),
        ("date:2025-03-14", [1]),
        ("date:2025-03-14T12:00", [1]),
        ("date:2025-03-14T12:00:00", [1]),
        ("date:2025-03-14T11:59:30", []),
        ("date:>2025-03", [2]),
        ("date:>=2025-03", [1, 2]),
        ("date:<2025-04-01", [1]),
        ("date:<=2025-04", [1, 2]),
        ("date:2025-03-15..2025-04", [2]),
        ("-date:2025-03", [2, 3, 4]),
        ("indexed:today", [1, 2, 3, 4]),
        ("age:>7d", [1, 2]),
        ("age:<7d", []),
        ("age:7d..", [1, 2]),
        ("age:..7d", []),
        ("age:1d..99y", [1, 2]),
        ("id:#0", []),
        ("folder:2025", [1, 2]),
        ("folder:2025/cats/", [1]),
        ("folder=2025", [2]),
        ("folder:.", [1, 2, 3, 4]),
        ("folder=.", [4]),
        ("folder:2025\\cats", [1]),
        ("folder:/pictures/2025", [1, 2]),
        ("folder=/pictures/2025/", [2]),
        ("folder=/pictures", [4]),
        ("folder=/", []),
        ("folder:/pic", []),
        ("folder:*/cats", [1]),
        ("folder=*/cats", [1]),
        ("folder:2025*", [1, 2, 3]),
        ("folder=2025*", [2, 3]),
        ("folder:*/CATS", [1]),  # as a pattern of names elsewhere; what is no pattern is looked for by an index
        ("folder=*/CATS", []),
        ("folder:2025/CATS", []),
        ("folder:OUTPUT/*/Cats", [1]),
        ("folder=OUTPUT/*/cats", []),
        ("folder:OUTPUT/2025", []),
        ("folder=output/20*5", [2]),
        ("folder=2*/*a*", [1]),
        ("folder=*", [2, 3]),
        ("folder:output/2025", [1, 2]),  # the root's name may lead
        ("folder:output", []),
        ("folder:output/2025/cats/", [1]),
        ("folder:output/*/cats", [1]),
        ("folder=output/2025", [2]),
        ("-folder:output/2025", [3, 4]),
        ("folder:pictures/2025", []),
        ("file:one", [1]),
        ("file:*.png", [1, 3]),
        ('file="dog 100%.webp"', [2]),
        ("file:100%", [2]),
        ("format:png,jpg", [1, 3, 4]),
        ("format:jpeg", [4]),
        ("-format:.JPEG", [1, 2, 3]),
        ("filesize:>1MB", [2]),
        ("root:output", [1, 2, 3, 4]),
        ("root:OutPut", [1, 2, 3, 4]),
        ("root=output", [1, 2, 3, 4]),
        ("root=OutPut", []),
        ("root:input", []),
        ("copies:1", [1, 2, 3, 4]),
        ("has:prompt", [1, 2, 3]),
        ("-has:prompt", [4]),
        ("has:negative", [1]),
        ("has:workflow", [2]),
        ("has:lora", [1]),
        ("has:date", [1, 2]),
        ("confidence:exact", [1]),
        ("confidence:none", [2, 3, 4]),
        ("-confidence:none", [1]),
        ("rating:5", []),
        ("-rating:5", [1, 2, 3, 4]),
        ('namespace:""', [1, 2, 3, 4]),
    ],
)
def test_a_filter_lets_pass_what_it_says(images: Passing, text: str, expected: list[int]) -> None:
    assert images(text) == expected


def test_what_is_gone_has_no_file_and_no_copies(conn: db.Connection, images: Passing) -> None:
    assert images("has:file copies:>0") == [1, 2, 3, 4] and images("-has:file") == []
    conn.execute("UPDATE paths SET missing = now() WHERE image_id = (SELECT min(id) FROM images)")
    assert images("has:file") == images("copies:1") == [2, 3, 4]
    assert images("-has:file") == images("copies:0") == [1]


@pytest.mark.parametrize("text", ["folder:C:/pics/2025", "folder:C:\\pics\\2025", 'folder:"C:\\pics"', "folder:C:/", "folder:c:/PICS/2025", "folder:c:"])
def test_a_folder_of_windows_is_found_by_either_slash(conn: db.Connection, image: Callable[..., db.ImageRecord], text: str) -> None:
    drive, root = db.ensure_root(conn, "drive", "D:\\"), db.ensure_root(conn, "pics", "C:\\pics")
    found = [db.write_images(conn, at, [image(number, path="2025/x.png")]) for number, at in enumerate((root, drive), 1)]
    assert passing(conn, db.parse_filter(text)) == found[0]
    assert passing(conn, db.parse_filter("folder=c:/PICS/2025")) == found[0] and passing(conn, db.parse_filter("folder=c:/pics,D:/")) == []
    assert passing(conn, db.parse_filter("folder:D:/2025")) == passing(conn, db.parse_filter("folder:d:\\2025,c:/PIC")) == found[1]
    share = db.write_images(conn, db.ensure_root(conn, "share", "\\\\Server\\Art"), [image(3, path="2025/x.png")])
    assert passing(conn, db.parse_filter("folder:\\\\server\\art\\2025")) == share


def test_filters_together_keep_their_parameters_apart(conn: db.Connection, images: Passing) -> None:
    one, other = db.parse_filter("steps:20..30"), db.parse_filter("seed:>2")
    both = db.all_of([one, db.all_of([other, db.parse_filter("")])])
    assert passing(conn, both) == [image for image in passing(conn, one) if image in passing(conn, other)] != []
    assert images(both.text) == [1]


def test_the_same_characters_part_words_here_and_in_the_library(conn: db.Connection) -> None:
    tried = {*PUNCTUATION, *(chr(code) for code in range(33, 127) if not chr(code).isalnum())}
    parted = [one for one in tried if conn.execute("SELECT strip(words_of(%s))::text", [f"x{one}x"]).fetchone() == ("'x'",)]
    assert set(parted) == {*PUNCTUATION, "*"}


def test_words_are_found_in_any_case_on_a_server_that_folds_ascii_alone(new_database, image, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", new_database("template0 LOCALE 'C'"))
    library = db.open_library("default", tmp_path)
    with library.connection() as conn:
        assert conn.execute("SELECT lower('\u00c4R')").fetchone() == ("\u00c4r",)
        records = [image(n, prompt=db.TextPair(text, "")) for n, text in enumerate(("\u00e4rger im b\u00fcro", "\u00c4RGER", "\u00c4rger"))]
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), records)
        for text in ("\u00e4rger", "\u00c4RGER", "\u00c4rg*"):
            assert passing(conn, db.parse_filter(text)) == ids
    library.close()


_PIECES = st.sampled_from(
    "cat -cat ( ) OR AND NOT and or not \" : = != < > >= <= .. , * % _ \\ ' ; -- /* */ $$ :* & | ! <-> %s %(x)s {} 16:9 2025-03 "
    "20..40 1e9 -1 0 99999999999999999999 today 7d 1kB portrait 1024x1024 \0 \ud800 \u00c9t\u00e9 \u732b \u0301 \u200b \U0001f431 "
    "label steps prompt negative checkpoint lora folder file date age size aspect rating seed cfg has namespace filesize copies id "
    "megapixels width format root confidence controlnet encoder indexed".split()
)
_FIELD = st.sampled_from(sorted([*db.filters.fields.FIELDS, *db.filters.fields.ALIASES]))
_OPERATOR = st.sampled_from([":", "=", "!=", "<", ">", "<=", ">=", ":>", ":<="])
_VALUE = st.one_of(_PIECES, st.text(max_size=12), st.text(max_size=12).map(db.filters.quoted), st.integers().map(str), st.floats().map(str))
_TERM = st.tuples(_FIELD, _OPERATOR, _VALUE).map("".join)
_TEXTS = st.one_of(
    st.text(), st.lists(st.one_of(_PIECES, _TERM), max_size=8).map(" ".join), st.lists(_PIECES, max_size=12).map("".join)
)


@pytest.fixture(scope="module")
def one_image(new_database: Callable[..., str], template: str, tmp_path_factory: pytest.TempPathFactory, image: Callable):
    """A connection to a library with one image of everything, for many filters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_TOOLKIT_DSN", new_database(template))
        library = db.open_library("default", tmp_path_factory.mktemp("unused"))
    with library.connection() as conn:
        record = image(
            1, prompt=db.TextPair("cat", ""), seed=1, steps=20, cfg=7.0, checkpoint="cat", loras=[{"name": "cat"}], text_encoders=["cat"],
            controlnets=[{"name": "cat"}], height=0, created=datetime(2025, 3, 14), generator="cat",
        )  # fmt: skip
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [record])
        yield conn
    library.close()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(_TEXTS)
@example("lora:\\")
@example('lora:"\\""')
@example("prompt:'")
@example("prompt:\u0301*")
@example("aspect:0:0")
@example("x'); DROP TABLE images; --")
@example("\"'); DROP TABLE images; --\"")
@example("label:\"'); DROP TABLE images; --\"")
@example("lora:\"x\\\") || true\"")
def test_any_text_is_a_filter_or_a_filter_error(one_image: db.Connection, text: str) -> None:
    try:
        found = db.parse_filter(text)
    except db.FilterError as error:
        assert "can't be understood" in str(error) and str(error).endswith((".", ")"))
        return
    assert set(passing(one_image, found)) <= {1}  # the condition runs, also negated, and holds or does not
    negated = db.Filter(sql.SQL("({}) IS NOT TRUE").format(found.condition), found.parameters)
    assert passing(one_image, found) + passing(one_image, negated) == [1]
    if text.strip():
        both = db.all_of([found, db.parse_filter("seed:1")])
        assert passing(one_image, both) == passing(one_image, found)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_TERM, min_size=1, max_size=4).map(" ".join))
def test_negation_is_the_other_images(one_image: db.Connection, text: str) -> None:
    try:
        found, other = db.parse_filter(f"({text})"), db.parse_filter(f"-({text})")
    except db.FilterError:
        return
    assert sorted(passing(one_image, found) + passing(one_image, other)) == [1]


def test_a_part_of_a_checkpoints_name_is_found_by_its_index(conn: db.Connection) -> None:
    conn.execute(
        "INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader, checkpoint)"
        " SELECT int4send(n), 8, 8, false, false, '[]', 3, 'model ' || n % 100 FROM generate_series(1, 20000) n"
    )
    conn.execute("ANALYZE images")
    for found in (db.parse_filter('checkpoint:"del 77"'), db.all_of([db.parse_filter('checkpoint:"del 77"'), db.parse_filter("width:8")])):
        plans = [
            conn.execute(sql.SQL("EXPLAIN SELECT i.id FROM images i WHERE {}").format(one), found.parameters).fetchall()
            for one in (found.condition, found.narrow)
        ]
        by_each, by_index = ("\n".join(line for (line,) in plan) for plan in plans)
        assert "Seq Scan on images" in by_each and "Seq Scan on images" not in by_index and "images_checkpoint" in by_index
        [(estimate,)] = conn.execute("SELECT (regexp_match(%s, 'rows=(\\d+)'))[1]::int", [by_each])
        assert 100 < estimate < 400
        assert len(passing(conn, found)) == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blac", "No prompt has 'blac' as whole words; blac* is in those of 1 image."),
        ('prompt:"black ca" steps:99', "No prompt has 'black ca' as whole words; \"black ca*\" is in those of 1 image. "
         "No image has steps:99; the lowest is 20, the highest 40."),
        (
            "(d or gre) negative:blur",
            "No prompt has 'd' as whole words; d* is in those of 2 images. "
            "No prompt has 'gre' as whole words; gre* is in those of 1 image. "
            "No negative prompt has 'blur' as whole words; blur* is in those of 1 image.",
        ),
        ("(d or cat) negative:blur", "No negative prompt has 'blur' as whole words; blur* is in those of 1 image."),
        ("-blac", ""),
        ("cat steps:40", ""),
        ("blac*", ""),
        ("zebra", ""),
        ('prompt:"label:keep"', "'label:keep' was looked for in the prompt; if it is meant as a filter, write it as filter text."),
        ('neg:"Tag:keep"', "'Tag:keep' was looked for in the negative prompt; if it is meant as a filter, write it as filter text."),
        ('prompt:"label:"', ""),
        ('prompt:"artist:monet"', ""),
        ("", ""),
    ],
)
def test_a_word_that_only_begins_others_is_told(conn, images, text: str, said: str) -> None:
    assert db.why_none_pass(conn, db.parse_filter(text)) == said


def test_of_joined_filters_that_are_longer_than_one_may_be_nothing_is_told(conn) -> None:
    long = db.parse_filter('label:frsh8 "' + 'xyz ' * 700 + '"')
    assert db.why_none_pass(conn, long) and db.why_none_pass(conn, db.all_of([long, long])) == db.why_none_pass(conn, None) == ""
