"""Search: one question of parts, answered through an index where that is right and sure, else by comparing with every vector."""

from .answer import search
from .calibration import forget_samples
from .cosines import exact_cosines
from .kinds import TEXT_KINDS

__all__ = ["TEXT_KINDS", "exact_cosines", "forget_samples", "search"]


def search_by_text(conn, kind, query, k, min_score=-1.0, encoder_id=None):  # goes with the last of its callers
    from ..question import Part, Question

    return search(conn, Question(parts=(Part(kind, query, 1.0, encoder_id),), k=k, lowest_score=min_score)).hits


def search_by_image(conn, query, k, min_score=-1.0, encoder_id=None):
    return search_by_text(conn, "image", query, k, min_score, encoder_id)
