"""Search: one question of parts, answered through an index where that is right and sure, else by comparing with every vector."""

from .answer import search
from .calibration import forget_samples
from .cosines import exact_cosines
from .kinds import SHAPES, TEXT_KINDS, encoder_of

__all__ = ["SHAPES", "TEXT_KINDS", "encoder_of", "exact_cosines", "forget_samples", "search"]
