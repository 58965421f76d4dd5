"""Prompts as people write them, several thousand: those of ComfyUI's templates, and seeded combinations of what prompts are made of."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

SUBJECTS = (
    "a red fox", "an old fisherman", "a portrait of a young woman", "a knight in rusty armor", "two children", "a glass city", "a steam locomotive",
    "a sleeping dragon", "a bowl of ramen", "a lighthouse", "an astronaut", "a black cat", "a ballet dancer", "a market street", "a wooden cabin",
    "a cyborg with neon tattoos", "a field of sunflowers", "a vintage car", "a whale", "an owl made of paper", "a queen on a throne", "a robot gardener",
    "a chess board", "a mountain village", "a violin player", "a samurai", "a fairy with moth wings", "a coral reef", "a library", "a bearded wizard",
    "1girl, solo, long hair", "1boy, short hair, jacket", "a stack of pancakes", "a sports shoe", "a haunted mansion", "a hot air balloon",
)  # fmt: skip
DOINGS = (
    "reading a letter", "running through tall grass", "standing on a cliff", "floating above the clouds", "under water", "in the rain", "at the window",
    "surrounded by butterflies", "holding a lantern", "walking along a river", "in front of a burning ship", "covered in moss", "made of glass",
    "looking at viewer", "eating an apple", "playing cards with a skeleton", "on a crowded train", "next to a broken statue", "lit by fireflies",
    "carved out of wood", "half hidden in fog", "seen from above", "in a field of snow", "with a crown of thorns", "reflected in a puddle",
)  # fmt: skip
PLACES = (
    "in a misty forest", "in Tokyo at night", "on the moon", "in an abandoned factory", "in a victorian living room", "by the sea", "in the desert",
    "at a train station", "in a greenhouse", "in ancient Rome", "in a cave with crystals", "on a rooftop", "in a small kitchen", "in deep space",
)  # fmt: skip
LOOKS = (
    "oil painting", "photograph, 85mm, f1.8", "watercolor", "anime", "pencil sketch", "low poly render", "film grain", "studio lighting", "golden hour",
    "octane render", "art nouveau poster", "macro photography", "pixel art", "impressionism", "ukiyo-e", "claymation", "blueprint", "charcoal drawing",
    "isometric", "double exposure", "long exposure", "polaroid", "comic book", "stained glass", "concept art", "matte painting",
)  # fmt: skip
PRAISE = (
    "masterpiece", "best quality", "highly detailed", "8k", "sharp focus", "intricate", "trending on artstation", "cinematic", "award winning",
    "dramatic lighting", "vivid colors", "muted colors", "soft shadows", "bokeh", "depth of field", "hdr", "ultra realistic", "symmetrical",
    "pastel palette", "black and white", "high contrast", "volumetric light", "rule of thirds", "wide angle", "close-up",
)  # fmt: skip
FAULTS = (
    "blurry", "ugly", "lowres", "bad anatomy", "extra fingers", "watermark", "signature", "text", "jpeg artifacts", "deformed", "cropped",
    "worst quality", "low quality", "out of frame", "duplicate", "mutated hands", "oversaturated", "grainy", "poorly drawn face",
)  # fmt: skip


def prompts(number: int, seed: int = 1) -> list[str]:
    """So many distinct prompts, in an order that the seed gives: the templates' where ComfyUI's package of them is installed, then made ones."""
    rng = random.Random(seed)
    found = dict.fromkeys(template_prompts())
    while len(found) < number:
        found.setdefault(made_prompt(rng))
    chosen = list(found)[:number]
    rng.shuffle(chosen)
    return chosen


def made_prompt(rng: random.Random) -> str:
    """One prompt of a random make: praise first or last, phrases or a sentence, some weights; one in eight is a negative prompt."""
    if rng.random() < 0.125:
        return ", ".join(rng.sample(FAULTS, rng.randint(2, 12)))
    subject, doing, place = rng.choice(SUBJECTS), rng.choice(DOINGS), rng.choice(PLACES)
    scene = [subject] if rng.random() < 0.2 else [f"{subject} {doing}"] if rng.random() < 0.5 else [f"{subject} {doing} {place}"]
    if rng.random() < 0.3:
        scene.append(f"{rng.choice(SUBJECTS)} {rng.choice(PLACES)}")
    looks = rng.sample(LOOKS, rng.randint(0, 4))
    praise = rng.sample(PRAISE, rng.randint(0, 9))
    parts = praise + scene + looks if rng.random() < 0.4 else scene + looks + praise
    if rng.random() < 0.15:
        place_in = rng.randrange(len(parts))
        parts[place_in] = f"({parts[place_in]}:{rng.choice((0.8, 1.1, 1.2, 1.3))})"
    return (", " if rng.random() < 0.9 else " ").join(parts)


def template_prompts(longest: int = 2000) -> Iterator[str]:
    """Texts of text encoding nodes in the workflows that ComfyUI ships."""
    try:
        import comfyui_workflow_templates_json as templates
    except ImportError:
        return
    for file in sorted((Path(templates.__file__).parent / "templates").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        for graph in [content, *content.get("definitions", {}).get("subgraphs", [])] if isinstance(content, dict) else []:
            for node in graph.get("nodes", []):
                values = node.get("widgets_values")
                if "TextEncode" in node.get("type", "") and isinstance(values, list):
                    yield from (text.strip() for text in values if isinstance(text, str) and 12 < len(text.strip()) < longest)
