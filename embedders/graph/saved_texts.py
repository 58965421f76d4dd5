"""The texts that Save Image with Prompt keeps in its own node, in the graph of the file that it writes: what came over its links.

A text stands in the place of its link where another node took that link too, since it took the text then. Where only the saver took
it, the link stays, so that the graph tells the new text when it is queued again, and the text stands beside it.
"""

from __future__ import annotations

from .nodes import Link, Node

SAVER = "DiffusionToolkitSaveImage"  # its class

SIDES = {"positive": "prompt", "negative": "negative_prompt"}
"""The saver's input of each side."""

_GIVERS = ("DiffusionToolkitLoader", "DiffusionToolkitLoadEmbeddings")  # of conditioning together with its very text
_OF_EACH = {"several": "each by itself", "t5_text": ""}  # so Condition Other Models does: an average has the first image's text, and T5 may read another
_GIVEN = {"positive": (0, 2), "negative": (1, 3)}  # the outputs of a side: conditioning, text


def beside(name: str) -> str:
    """Where the text of a link that stays is written."""
    return f"saved_{name}"


def saved_another_file(node: Node) -> bool:
    """A saver with a text that is a link alone: in the file that it saved itself the text would stand."""
    return node.kind == SAVER and any(name in node.links and beside(name) not in node.values for name in SIDES.values())


def saved_text(node: Node, side: str) -> tuple[str, str] | None:
    """The text of a side and the name under which it stands; None where only links do, which tell nothing.

    An empty prompt tells nothing either: search nodes give it where none is known. Conditioning without a negative prompt is that
    of the empty text.
    """
    name = SIDES[side]
    for place in (name, beside(name)):
        text = node.values.get(place)
        if isinstance(text, str) and (text.strip() or side == "negative"):
            return text, place
    return None


def is_of(node: Node, side: str, conditioning: Link, giver: Node) -> bool:
    """Whether the text of a side came from the node that gave the side's conditioning over this link, and is its text."""
    conditions, text = _GIVEN[side]
    if conditioning.slot != conditions or node.links.get(SIDES[side]) != Link(giver.key, text):
        return False
    return giver.kind in _GIVERS or giver.kind == "DiffusionToolkitConditionOtherModels" and _OF_EACH.items() <= giver.values.items()
