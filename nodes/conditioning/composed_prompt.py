"""From a query to the nearest stored texts, their phrases, and the prompt that the best of these make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ... import db
from ...db import phrases as stored
from ...embedders.composing import compose
from ...embedders.phrases import as_prompt, key_of, phrases_of
from ..links import KINDS, QueryPart
from ..search.asking import Wanted, in_words, question_of
from ..search.no_hits import why_no_hits
from .phrase_scoring import Scoring, encoders_of, targets_of, word_vectors

CANDIDATES = 500  # phrases that are looked at, the best by estimate
BEGINNINGS = 5  # of the nearest texts, each a prompt to begin with
SHOWN_TEXTS = 10
SHOWN_CHARACTERS = 160  # of a stored text
NEARER = 0.005  # by which the nearest text must score higher to be named as better
_TEXT = {"prompt": "prompt", "negative": "negative prompt"}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PromptFound:
    """What was found, best first; `phrases` are those of the prompt, in its order."""

    prompt: str
    score: float
    average: float  # what the library's texts score
    phrases: list[str]
    phrase_scores: list[float]
    near: list[stored.NearText]
    how: list[str]
    doubt: str = ""  # of a score that is no encoder's own: how good such estimates are
    whole: float | None = None  # what the nearest text scores by the same measure, as one prompt


def parts_of_images(connection: db.Connection, ids: Sequence[int], kinds: Sequence[str]) -> tuple[list[QueryPart], str]:
    """What images have in common by the active encoders, a part a kind with a share of 1; and how many of them lack something.

    LibraryError where none of them has a vector of a kind, and for ids that there are not.
    """
    images = db.get_images(connection, ids)
    label = f"image {ids[0]}" if len(ids) == 1 else f"what {len(ids)} images have in common"
    parts, lacking = [], []
    for kind in kinds:
        family = db.FAMILIES[kind]
        encoder = db.active_encoder(connection, family)
        vector, having = stored.mean_vector(connection, kind, encoder, ids) if encoder is not None else (None, 0)
        if vector is None or encoder is None:
            chosen = f"None of the chosen images ({', '.join(map(str, ids[:5]))}{', ...' * (len(ids) > 5)})"
            text = {"image": "", "negative": "negative"}.get(kind, "prompt")
            if text and not any(getattr(image, text) for image in images):
                raise db.LibraryError(
                    f"{chosen} has a known {_TEXT[text]}, so there is no {KINDS[kind]} vector to ask by. Choose images that have one (List "
                    f"Images with has:{text} finds them), or choose another kind in `by`."
                )
            raise db.LibraryError(
                f"{chosen} has a {KINDS[kind]} vector. Run Index Folder on their folder with {db.encoders.CONNECT[family]} connected, or "
                "choose another kind in `by`."
            )
        if having < len(ids):
            have = "has no {} vector and does not" if having == len(ids) - 1 else "have no {} vector and do not"
            lacking.append(f"{len(ids) - having} of the {len(ids)} images {have.format(KINDS[kind])} count")
        of = f"{label} ({KINDS[kind]})" if len(kinds) > 1 else label
        parts.append(QueryPart(kind, vector, encoder.fingerprint, encoder.name, weight=1 / len(kinds), label=of))
    return parts, ". ".join(lacking)


def find_prompt(
    connection: db.Connection,
    parts: Sequence[QueryPart],
    wanted: Wanted,
    *,
    most_phrases: int,
    avoid: str = "",
    text_embedder: Any | None = None,
    clip: Any | None = None,
    description_encoder: Any | None = None,
    progress: Progress,
) -> PromptFound | None:
    """The nearest `wanted.k` texts and the prompt made of their phrases; None where no text is near.

    Raises:
        AnotherEncoder: what is connected did not make the library's vectors.
        LibraryError: the library has nothing of what is asked for.
        ValueError: `avoid` leaves no phrase.
    """
    targets = targets_of(connection, parts)
    encoders, idle = encoders_of(targets, text_embedder, clip, description_encoder)
    question = question_of(parts, wanted)
    progress("Looking for texts", 0, 1)
    near, images = stored.nearest_texts(connection, question, wanted.k)
    if not near:
        return None
    candidates = _candidates([one.text for one in near], avoid)
    progress("Learning what words do", 0, 1)
    others = stored.some_texts(connection, question)
    scoring = Scoring(targets, word_vectors(connection, targets, _each_once(images, others)), encoders)
    best = scoring.guess([[phrase] for phrase in candidates]).argsort()[::-1]
    kept = {key_of(phrase) for phrase in candidates}
    candidates = [candidates[place] for place in sorted(best[:CANDIDATES])]
    beginnings = [[phrase for phrase in phrases_of(one.text) if key_of(phrase) in kept] for one in near[:BEGINNINGS]]
    made = compose(candidates, scoring.guess, scoring.score, most_phrases, beginnings=beginnings, progress=progress)
    share = sum(abs(part.weight) for part in parts)
    whole = scoring.whole(near[0], share)
    near = [stored.NearText(one.text_id, one.text, one.score / share, one.image_id) for one in near]
    return PromptFound(
        as_prompt(made.phrases), made.score, scoring.average, list(made.phrases), list(made.alone), near, [*scoring.how(), *idle],
        scoring.doubt, whole,
    )  # fmt: skip


def report_text(found: PromptFound, parts: Sequence[QueryPart], note: str = "", most_phrases: int = 0) -> str:
    """The prompt, what it is made of, the nearest texts, and how all of it was scored; `most_phrases` is what was asked for at the most."""
    true = f"the nearest stored text has {found.near[0].score:.3f}, those of this library {found.average:.3f} on average"
    measured = f"{found.score:.3f} {found.doubt}" if found.doubt else f"{found.score:.3f}; {true}"
    lines = [f"Prompt for {in_words(parts)}, score {measured}:", found.prompt, *_better(found, most_phrases), "", "Its phrases alone:"]
    lines += [f"  {score:.3f}  {phrase}" for phrase, score in zip(found.phrases, found.phrase_scores)]
    lines += ["", f"The nearest of the {len(found.near)} stored texts that the phrases are from:"]
    if found.doubt:
        lines[-1] = f"{lines[-1][:-1]}. Their scores are true ones, not to be compared with the estimates above ({true}):"
    lines += [
        f"{number}. {one.score:.3f}  #{one.image_id}  {_short(one.text)}" for number, one in enumerate(found.near[:SHOWN_TEXTS], start=1)
    ]
    lines += ["", *(f"Scored by {line}." for line in found.how)]
    return "\n".join([*lines, note] if note else lines)


def why_no_texts(library: db.Library, parts: Sequence[QueryPart], wanted: Wanted) -> str:
    """What a node shows where no text is near: why there are no hits, or that those there are have no prompts."""
    with library.connection() as connection:
        found = db.search(connection, replace(question_of(parts, wanted), k=1)).hits
    if not found:
        return why_no_hits(library, parts, wanted)
    return (
        f"No texts for {in_words(parts)} in the library '{library.name}': no image that is near has a known prompt of its own, so there "
        "are no phrases to make one of."
    )


def _better(found: PromptFound, most_phrases: int) -> list[str]:
    """Where the nearest text itself is better than what was made of its like: that it is, and what helps."""
    if found.whole is None or found.whole < found.score + NEARER:
        return []
    more = f"raise `phrases` ({most_phrases} now), or " * (len(found.phrases) >= most_phrases > 0)
    by = "By the same estimate t" if found.doubt else "T"
    return ["", f"{by}he nearest stored text itself is better, with {found.whole:.3f}: {more}take that text (#{found.near[0].image_id})."]


def _candidates(texts: Sequence[str], avoid: str) -> list[str]:
    """The phrases of all texts, each once, without those that say what is to be avoided."""
    found = {key_of(phrase): phrase for text in reversed(texts) for phrase in reversed(phrases_of(text))}
    unwanted = [f" {key_of(one)} " for one in avoid.replace("\n", ",").split(",") if key_of(one)]
    kept = {key: phrase for key, phrase in found.items() if not any(one in f" {key} " for one in unwanted)}
    if not kept:
        raise ValueError(
            "Nothing is left of the nearest texts' phrases: they say what `avoid` names. Take something out of it, or ask for more texts."
            if found
            else "The nearest texts have no phrases, only signs. Ask for more texts."
        )
    return list(reversed(kept.values()))


def _each_once(*many: Sequence[stored.TextOfImage]) -> list[stored.TextOfImage]:
    return list({image.image_id: image for images in many for image in images}.values())


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "\u2026"
