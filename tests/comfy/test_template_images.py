"""A larger folder of real images: the stills of ComfyUI's own templates, as the main job indexes them."""

from __future__ import annotations

import pytest
from host.node_graphs import index, search_by_prompt
from host.template_images import TemplateImages, write_template_images


@pytest.fixture(scope="module")
def written(server) -> TemplateImages:
    return write_template_images(server.output / "templates", server.object_info())


def test_all_are_indexed_and_found_by_meaning(server, written):
    summary = server.queue(index("templates"), timeout=1200).outputs["index"]["summary"][0]
    assert (summary["found"], summary["skipped"]) == (written.images, [])
    assert summary["added"] + summary["known_elsewhere"] == written.images
    assert written.images > 350 and written.with_prompt > 140
    first = server.queue(search_by_prompt("a cat wearing a crown", top_k=1, filter_text="folder:templates")).outputs["search"]["hits"][0]
    assert first["prompt"].startswith("A cat with a crown")
