"""What is said of a filter that no image passes: the misspelt name in it, and what there is that is near."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters import near_names, none_pass
from diffusion_toolkit.db.filters.near_names import nearest
from host.comfy_models import import_comfy


NO_STEPS = "No image has steps:7; the only value is 20."


@pytest.fixture
def images(conn, image):
    """Four images of a root with folders, a root of Windows, names of every kind, and some settings."""
    names = {
        "labels": ("crop", "fresh8"), "namespace": "client work", "checkpoint": "sdxl/dreamXL_v8.safetensors", "vae": "sdxl_vae.safetensors",
        "loras": [{"name": "add-detail-xl"}], "controlnets": [{"name": "canny"}], "text_encoders": ["t5xxl"], "sampler": "euler_ancestral",
        "scheduler": "karras", "generator": "ComfyUI", "seed": 1, "steps": 20, "rating": 4,
        "created": datetime(2025, 3, 14, 12),
    }  # fmt: skip
    output, windows = db.ensure_root(conn, "output", "/data/output"), db.ensure_root(conn, "drive", "D:\\pics")
    db.write_images(conn, output, [image(1, path="mine/cats/1.png", **names), image(2, path="mine/cats/old/2.png"), image(3, path="my dogs/3.png", rating=-1)])
    db.write_images(conn, windows, [image(4, path="2025/4.webp", checkpoint="other.gguf", seed=2**64 - 1)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label:frsh8", "No image has the label 'frsh8'. Did you mean 'fresh8'?"),
        ("tag:fresh", "No image has the label 'fresh'. Did you mean 'fresh8'?"),
        ("label:zebra", "No image has the label 'zebra'. There are: crop, fresh8."),
        ("label:xy*", "No image has a label like 'xy*'. There are: crop, fresh8."),
        ("namespace:clent", "No image has the namespace 'clent'. Did you mean 'client work'?"),
        ("checkpoint:dreemXL", "No image has the checkpoint 'dreemXL'. Did you mean 'sdxl/dreamXL_v8.safetensors'?"),
        ("model=dreamXL_v8", "No image has the checkpoint 'dreamXL_v8'. Did you mean 'sdxl/dreamXL_v8.safetensors'?"),
        ("checkpoint:flux", "No image has the checkpoint 'flux'. There are: other.gguf, sdxl/dreamXL_v8.safetensors."),
        ("lora:detial", "No image has the LoRA 'detial'. Did you mean 'add-detail-xl'?"),
        ("lora:add-detial", "No image has the LoRA 'add-detial'. Did you mean 'add-detail-xl'?"),
        ("controlnet:cany", "No image has the ControlNet 'cany'. Did you mean 'canny'?"),
        ("vae:sdxlvae", "No image has the VAE 'sdxlvae'. Did you mean 'sdxl_vae.safetensors'?"),
        ("encoder:t5xl", "No image has the text encoder 't5xl'. Did you mean 't5xxl'?"),
        ("sampler:eular", "No image has the sampler 'eular'. Did you mean 'euler_ancestral'?"),
        ("scheduler:karas", "No image has the scheduler 'karas'. Did you mean 'karras'?"),
        ("scheduler:karas*", "No image has a scheduler like 'karas*'. Did you mean 'karras'?"),
        ("generator:comfy-ui", "No image has the generator 'comfy-ui'. Did you mean 'ComfyUI'?"),
        ("format:jpg", "No image has the format 'jpg'. There are: png, webp."),
        ("root:ouptut", "No image has the root 'ouptut'. Did you mean 'output'?"),
        ("folder:cats", "No folder 'cats' lies directly below a root; folder:*/cats has 2 images."),
        ("folder:output/cats", "No folder 'cats' lies directly below a root; folder:*/cats has 2 images."),
        ("folder:/data/output/cats", "No folder 'cats' lies directly below a root; folder:*/cats has 2 images."),
        ("folder:output", "'output' is a root, and no folder of one: root:output passes all below it."),
        ("folder=drive/", "'drive' is a root, and no folder of one: root:drive passes all below it."),
        ("folder:/data/*", "No file lies in the folder '/data/*': in a whole path a star is no pattern. "
         "Write a folder's path without it, or folder:*/cats."),
        ("folder:mien", "No file lies in the folder 'mien'. Did you mean 'mine'?"),
        ("folder:Mine/Cats", "No file lies in the folder 'Mine/Cats'. Did you mean 'mine/cats'?"),
        ("folder:mine/cast", "No file lies in the folder 'mine/cast'. Did you mean 'mine/cats'?"),
        ("folder:e:\\pics\\2205", "No file lies in the folder 'e:\\pics\\2205'. The roots are /data/output (output), D:\\pics (drive)."),
        ("folder:d:\\pics\\2205", "No file lies in the folder 'd:\\pics\\2205'. Did you mean '2025'?"),
        ("folder:d:\\Pics\\2025\\4.webp", "'d:\\Pics\\2025\\4.webp' is a file, and no folder: file:4.webp passes files of that name."),
        ("folder:output/mine/cats/1.png", "'output/mine/cats/1.png' is a file, and no folder: file:1.png passes files of that name."),
        ("folder:D:\\pics\\2052", "No file lies in the folder 'D:\\pics\\2052'. Did you mean '2025'?"),
        ("folder=mine", "No file lies in the folder 'mine' itself; folder:mine has 2 images below it."),
        ('folder="*/dogs"', "No file lies in a folder like '*/dogs'. Did you mean 'my dogs'?"),
        ("label:frsh8,nosuch", "No image has the label 'frsh8'. Did you mean 'fresh8'? No image has the label 'nosuch'. There are: crop, fresh8."),
        ("label:frsh8 or (sampler:eular steps:3)", "No image has the label 'frsh8'. Did you mean 'fresh8'? "
         "No image has the sampler 'eular'. Did you mean 'euler_ancestral'? " + NO_STEPS.replace("7", "3")),
        ("label:crop,frsh8 steps:7", NO_STEPS),
        ("label:frsh8 or label:crop steps:7", "No image has the label 'frsh8'. Did you mean 'fresh8'? " + NO_STEPS),
        ("label:crop,frsh8 checkpoint:other", ""),
        ("(label:frsh8 or label:crop) checkpoint:other", ""),
        ("(label:frsh8 or checkpoint:other) steps:7 sampler:eular", NO_STEPS + " No image has the sampler 'eular'. Did you mean 'euler_ancestral'?"),
        ("label:crop checkpoint:other", ""),
        ("label:crop -label:frsh8 label!=nosuch steps:7", NO_STEPS),
        ("rating:4 checkpoint:other -steps:7", ""),
        ("rating:4 seed:7", "No image has seed:7; the lowest is 1, the highest 18446744073709551615."),
        ("stars:>=5 cfg:>7", "No image has rating>=5; the lowest is rejected, the highest 4. No image has a cfg."),
        ("rating:0..3 or steps:7,8", "No image has rating:0..3; the lowest is rejected, the highest 4. " + NO_STEPS + " " + NO_STEPS.replace("7", "8")),
        ("(rating:4,5 or steps:7) checkpoint:other", ""),
        ("created:2024", "No image has date:2024; the only day is 2025-03-14."),
        ("age:7d", "No image has age:7d; the only day is 2025-03-14."),
        ("width:>64", "No image has width>64; the only value is 64."),
        ("size:1024x1024", "No image has size:1024x1024; the only value is 64x32."),
        ("mp:>=2 or size:>64x32", "No image has megapixels>=2; the only value is 0.002048. No image has size>64x32; the only value is 64x32."),
        ("filesize:>2MB", "No image has filesize>2MB; the lowest is 11b, the highest 14b."),
        ("size!=64x32 filesize!=0..1GB", ""),
        ("denoise:0.5,0.6 label:frsh8", "No image has a denoise. No image has the label 'frsh8'. Did you mean 'fresh8'?"),
        ("label:frsh8 or guidance:3..4", "No image has the label 'frsh8'. Did you mean 'fresh8'? No image has a guidance."),
        ("label:crop steps:7 (cfg:7 or label:crop) -denoise:1 cfg!=7", NO_STEPS),
    ],
)  # fmt: skip
def test_a_name_that_no_image_has_is_told_with_what_was_meant(conn, images, text: str, said: str) -> None:
    assert not db.count_images(conn, db.parse_filter(text))
    assert db.why_none_pass(conn, db.parse_filter(text)) == said


def test_the_smallest_and_the_largest_are_told_as_a_filter_takes_them(conn, root, image) -> None:
    """By pixels, of which a narrow image may have many; of files those that stand: where an image has left one, its new one is there."""
    sides, sizes = ((512, 512), (640, 8000), (1000, 1000), (2000, 500)), (999, 1500, 10**9, 2_345_678)
    images = [image(n, width=width, height=height, file_size=size) for n, ((width, height), size) in enumerate(zip(sides, sizes))]
    db.write_images(conn, root, [*images, image(0, path="left.png", file_size=5 * 10**9), image(3, path="gone.png", file_size=7)])
    db.mark_missing(conn, root, ["left.png", images[1].path, "gone.png", images[3].path])
    said = {text: db.why_none_pass(conn, db.parse_filter(text)) for text in ("size:1x1", "megapixels:<0.1", "filesize:>2GB")}
    assert said["size:1x1"] == "No image has size:1x1; the lowest is 512x512, the highest 640x8000."
    assert said["megapixels:<0.1"] == "No image has megapixels<0.1; the lowest is 0.262144, the highest 5.12."
    assert said["filesize:>2GB"] == "No image has filesize>2GB; the lowest is 7b, the highest 1GB."
    conn.execute("DELETE FROM paths WHERE file_size IN (7, 999, 1000000000)")
    assert db.why_none_pass(conn, db.parse_filter("filesize:1b")).endswith("the lowest is 1.5kB, the highest 5GB.")
    conn.execute("DELETE FROM paths WHERE file_size NOT IN (2345678)")
    assert db.why_none_pass(conn, db.parse_filter("filesize:1b")).endswith("the only value is 2.345678MB.")
    conn.execute("DELETE FROM paths")
    assert db.why_none_pass(conn, db.parse_filter("filesize:1b")) == ""


def test_what_no_image_has_at_all_is_told_so(conn, root) -> None:
    assert db.why_none_pass(conn, db.parse_filter("label:fox")) == "No image has the label 'fox'. There is no label."
    assert db.why_none_pass(conn, db.parse_filter("stars:>=3")) == "No image has a rating."
    assert db.why_none_pass(conn, db.parse_filter("folder:fox")) == "No file lies in the folder 'fox'. There is no folder below a root."


def test_names_of_places_that_all_images_have_left_are_not_told_as_there(conn, root, image) -> None:
    moved, new = [f"inbox/{n}.jpg" for n in range(2)], db.ensure_root(conn, "new", "/new")
    for place, paths in ((root, moved), (new, ["archive/0.png", "archive/1.png"])):
        db.write_images(conn, place, [image(n, path=path) for n, path in enumerate(paths)])
    db.mark_missing(conn, root, moved)
    said = {text: db.why_none_pass(conn, db.parse_filter(text)) for text in ("folder:inbox", "format:jpg", "root:output")}
    assert said["folder:inbox"] == "No file lies in the folder 'inbox'. There is: archive."
    assert said["format:jpg"] == "No image has the format 'jpg'. There is: png."
    assert said["root:output"] == "No image has the root 'output'. There is: new."


def test_of_many_names_none_is_told_that_is_not_near(conn, root, image) -> None:
    db.write_images(conn, root, [image(n, labels=(f"label {n}",)) for n in range(20)])
    assert db.why_none_pass(conn, db.parse_filter("label:fox")) == "No image has the label 'fox'."
    assert db.why_none_pass(conn, db.parse_filter('label:"lable 7"')).endswith("Did you mean 'label 7' or 'label 17' or 'label 9'?")


def test_names_are_read_within_bounds(conn, images, monkeypatch) -> None:
    monkeypatch.setattr(near_names, "NAMES", 1)
    assert all(len(near_names.names_of(conn, field, "x")[0]) == 1 for field in near_names.FIELDS)
    assert near_names.names_of(conn, "checkpoint", "oter") == (["other.gguf"], True)
    monkeypatch.setattr(near_names, "ROWS", 1)
    assert near_names.names_of(conn, "format", "png") == (["webp"], False)  # of the newest image


def test_the_names_that_are_compared_are_those_that_share_most_with_the_value(conn, root, image, monkeypatch) -> None:
    monkeypatch.setattr(near_names, "NAMES", 4)
    images = [image(n, path=f"{'old' if n % 2 else 'new'}/pictures {n}/{n}.png", labels=(f"a picture {n}",)) for n in range(40)]
    db.write_images(conn, root, images)
    assert "Did you mean 'a picture 33'" in db.why_none_pass(conn, db.parse_filter('label:"a pictuer 33"'))
    assert "Did you mean 'old/pictures 7'" in db.why_none_pass(conn, db.parse_filter('folder:"old/picturs 7"'))


def test_what_stands_between_letters_does_not_count_for_what_names_share(conn, root, image, monkeypatch) -> None:
    monkeypatch.setattr(near_names, "NAMES", 1)
    db.write_images(conn, root, [image(n, checkpoint=name) for n, name in enumerate(("s_d_x_l.ckpt", "xlsd.ckpt"))])
    for written in ("sdxl", "s.d.x.l"):
        assert db.why_none_pass(conn, db.parse_filter(f"checkpoint:{written}")).endswith(f"'{written}'. Did you mean 's_d_x_l.ckpt'?")


def test_long_names_are_compared_in_part(monkeypatch) -> None:
    compared = []
    monkeypatch.setattr(near_names.difflib, "get_close_matches", lambda wanted, pieces, *_: compared.append((wanted, list(pieces))) or [])
    assert nearest("y" * 200, [f"{n} {'x' * 200}" for n in range(2000)]) == nearest("y", [" ".join(map(str, range(30)))] * 20) == []
    assert nearest("yy", [str(n) for n in range(20_000)]) == []
    assert [len(wanted) for wanted, _ in compared] == [100, 1, 2] and len(compared[2][1]) == near_names.PIECES
    assert all(len(piece) <= 100 for _, pieces in compared for piece in pieces)
    nearest("y" * 100, [str(n) for n in range(20_000)])
    assert len(compared[3][1]) == 1000


def test_few_of_many_missing_names_are_told(conn, images) -> None:
    told = db.why_none_pass(conn, db.parse_filter(" ".join(f"label:none{n}" for n in range(8))))
    assert told.count("No image has") == 3
    assert db.why_none_pass(conn, db.parse_filter("label:" + ",".join(f"none{n}" for n in range(12)))) == told


def test_whether_one_is_there_is_asked_without_counting_all(conn, images, monkeypatch) -> None:
    monkeypatch.setattr(none_pass, "ENOUGH", 1)
    assert none_pass._count(conn, "format", ":", "png", none_pass.ENOUGH) == 1 and none_pass._count(conn, "format", ":", "png") == 3
    assert none_pass.is_there(conn, "format", ":", "png") and not none_pass.is_there(conn, "format", ":", "gif")


def test_of_what_only_the_newest_have_it_is_not_said_that_it_is_all(conn, images, monkeypatch) -> None:
    monkeypatch.setattr(near_names, "ROWS", 2)
    said = {text: db.why_none_pass(conn, db.parse_filter(text)) for text in ("format:jpg", "folder:xyz", "vae:flux")}
    assert said["format:jpg"] == "No image has the format 'jpg'. Among the newest are: png, webp."
    assert said["folder:xyz"] == "No file lies in the folder 'xyz'. Among the newest are: 2025, my dogs."
    assert said["vae:flux"] == "No image has the VAE 'flux'. There is: sdxl_vae.safetensors."
    conn.execute("UPDATE paths SET path = regexp_replace(path, '^.*/', '')")
    assert db.why_none_pass(conn, db.parse_filter("folder:xyz")) == "No file lies in the folder 'xyz'."


def test_the_longest_names_are_no_error(conn, images) -> None:
    for text in (f"folder:{'x' * 300}", f"label:{'x' * 200}", "label:***", f"prompt:{'x' * 200}", 'folder:"a, (b)\'"', "folder:."):
        db.why_none_pass(conn, db.parse_filter(text))


@pytest.mark.parametrize(
    ("value", "meant"),
    [("dream xl", ["sdxl/dream_xl.ckpt"]), ("CLIENT", ["client a", "client b"]), ("a", ["client a"]), ("b c", []), ("***", []), ("", []), ("猫の絵本", ["猫の繪本"])],
)
def test_the_nearest_names(value: str, meant: list[str]) -> None:
    assert nearest(value, ["client a", "client b", "sdxl/dream_xl.ckpt", "猫の繪本"]) == meant


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("sdxl", ["sd_xl_base_1.0.safetensors"]), ("SD-XL Base*", ["sd_xl_base_1.0.safetensors"]), ("sd15", ["v/sd 1.5"]),
        ("flux", ["flux1-dev.gguf"]),  # and not flu.x too
        ("1.", []), ("1_5", []), ("._-", []),  # too few letters
    ],
)  # fmt: skip
def test_a_name_written_together_or_apart_is_meant(value: str, meant: list[str]) -> None:
    assert nearest(value, ["flu.x", "flux1-dev.gguf", "sd_xl_base_1.0.safetensors", "v/sd 1.5"]) == meant


@pytest.fixture(scope="module")
def nodes():
    import_comfy()
    from diffusion_toolkit.nodes.survey import find_duplicates, shown_images

    return find_duplicates, shown_images


def test_what_looks_at_a_whole_library_tells_it_too(conn, images, nodes, encoder) -> None:
    _, shown_images = nodes
    said = "No image has the label 'frsh8'. Did you mean 'fresh8'?"
    encoder(conn, "image")
    with pytest.raises(db.LibraryError, match=f"let the filter pass more images. {re.escape(said)}$"):
        db.cluster_images(conn, "image", 3, db.parse_filter("label:frsh8"))
    assert shown_images.none_passes(conn, db.parse_filter("label:frsh8")) == f"No image passes the filter (label:frsh8). {said}"
    assert shown_images.none_passes(conn, db.parse_filter("steps:20 checkpoint:other")).endswith("checkpoint:other). Loosen the filter.")
    assert shown_images.none_passes(conn, db.parse_filter("label:crop")) == shown_images.none_passes(conn, None) == ""


def test_looks_by_another_model_than_clip_vit_h_are_told_as_such(conn, nodes) -> None:
    find_duplicates, _ = nodes
    assert find_duplicates.unsure_of_looks(conn) == ""
    db.activate_encoders(conn, [db.ensure_encoder(conn, db.Encoder("image", "aa", "CLIP-ViT-H/14", 8))])
    assert find_duplicates.unsure_of_looks(conn) == ""
    db.activate_encoders(conn, [db.ensure_encoder(conn, db.Encoder("image", "bb", "a CLIP vision of 3 layers, not CLIP-ViT-H/14", 8))])
    assert find_duplicates.unsure_of_looks(conn).startswith("The looks are those of a CLIP vision of 3 layers, not CLIP-ViT-H/14: unlike")
