"""Which widgets the inputs of a definition get, what they hold at first, and what a number that another node writes becomes."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow.widgets import UNDEFINED, Spec, Widget, definition_specs, make_widgets, rounded

BUTTONS = [("upload 3d model", "upload3dmodel"), ("upload extra resources", "uploadExtraResources"), ("clear", "clear")]
OPTIONS = {"options": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "raw", "made"),
    [
        ("which", [["a", "b"]], [("which", "a")]),
        ("which", ["COMBO", {**OPTIONS, "default": "b"}], [("which", "b")]),
        ("which", ["COMBO", {**OPTIONS, "multi_select": True}], [("which", [])]),
        ("which", ["COMBO", {"remote": {"route": "/x"}}], [("which", "Loading...")]),
        ("which", ["COMBO", {**OPTIONS, "remote": {"refresh_button": True}}], [("which", "a"), ("refresh", "refresh")]),
        ("which", ["COMBO", {}], [("which", UNDEFINED)]),
        ("which", ["COMBO", {**OPTIONS, "control_after_generate": True}],
         [("which", "a"), ("control_after_generate", "randomize"), ("control_filter_list", "")]),
        ("which", ["COMBO", {**OPTIONS, "control_after_generate": True, "multi_select": True}], [("which", []), ("control_after_generate", "randomize")]),
        ("seed", ["INT", {}], [("seed", 0), ("control_after_generate", "randomize")]),
        ("noise_seed", ["INT", {"default": 7}], [("noise_seed", 7), ("control_after_generate", "randomize")]),
        ("seed", ["INT", {"control_after_generate": False}], [("seed", 0)]),
        ("steps", ["INT", {"control_after_generate": "after"}], [("steps", 0), ("after", "randomize")]),
        ("seed", ["FLOAT", {}], [("seed", 0)]),
        ("box", ["BOUNDING_BOX", {}], [("box", {"x": 0, "y": 0, "width": 512, "height": 512}), ("x", 0), ("y", 0), ("width", 0), ("height", 0)]),
        ("sound", ["AUDIO_RECORD", {}], [("sound", ""), ("sound", "")]),
        ("shape", ["LOAD_3D", {}], [*BUTTONS, ("shape", "")]),
    ],
)  # fmt: skip
def test_widgets_of_an_input(name: str, raw: list[Any], made: list[tuple[str, Any]]) -> None:
    assert [(widget.name, widget.value) for widget in make_widgets(Spec.read(name, raw), {"model_file"})] == made


def test_shape_without_a_file_has_no_buttons() -> None:
    assert [widget.name for widget in make_widgets(Spec("shape", "LOAD_3D", {}), set())] == ["shape"]


@pytest.mark.parametrize(
    ("kind", "required", "added"),
    [
        ("LoadImage", {"image": [["a.png"], {"image_upload": True}]}, {"upload": "IMAGEUPLOAD"}),
        ("LoadVideo", {"file": ["COMBO", {"video_upload": True}]}, {"upload": "IMAGEUPLOAD"}),
        ("LoadGif", {"file": ["COMBO", {"animated_image_upload": True}]}, {"upload": "IMAGEUPLOAD"}),
        ("Other", {"image": ["STRING", {"image_upload": True}]}, {}),
        ("LoadAudio", {"audio": [["a.mp3"], {"audio_upload": True}]}, {"audioUI": "AUDIO_UI", "upload": "AUDIOUPLOAD"}),
        ("PreviewAudio", {}, {"audioUI": "AUDIO_UI"}),
        ("SaveGLB", {}, {"image": "PREVIEW_3D"}),
        ("Load3DAdvanced", {}, {"viewport_state": "LOAD_3D_ADVANCED"}),
    ],
)
def test_inputs_that_the_front_end_adds_to_a_definition(kind: str, required: dict[str, Any], added: dict[str, str]) -> None:
    specs = {spec.name: spec.type for spec in definition_specs(kind, {"input": {"required": required}})}
    assert {name: specs[name] for name in specs if name not in required} == added


@pytest.mark.parametrize(
    ("kind", "options", "value", "held"),
    [
        ("INT", {}, 7.5, 8), ("INT", {"step": 8}, 13, 16), ("INT", {"step": 8, "min": 1}, 14, 17), ("INT", {"step": 1, "min": 3}, 7, 7),
        ("FLOAT", {"step": 0.01}, 0.126, 0.13), ("FLOAT", {"step": 0.1, "round": 0.01}, 0.126, 0.1), ("FLOAT", {"step": 0.01, "round": 0.05}, 0.12, 0.1),
        ("FLOAT", {"step": 0.1}, -3.0, 0), ("FLOAT", {"step": 0.1}, 5000.0, 2048), ("FLOAT", {"step": 0.1, "min": -9, "max": 9}, -3.0, -3.0),
        ("FLOAT", {"step": 0.1, "max": 9}, 10.0, 9), ("INT", {}, True, True), ("STRING", {}, 0.5, 0.5),
    ],
)  # fmt: skip
def test_number_that_another_node_writes_is_rounded_as_its_widget_does(kind: str, options: dict[str, Any], value: Any, held: Any) -> None:
    assert rounded(Widget("w", kind, options=options), value) == held
