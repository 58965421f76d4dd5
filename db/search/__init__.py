"""Search: one question of parts, answered through an index where that is right and sure, else by comparing with every vector.

`answer` leads from a question to its hits. `kinds` makes of its parts a direction for each kind, and knows where the vectors are.
`strategy` finds the best images for the directions: through `one_kind`'s index, through the hybrid index (`..hybrid.candidates`), or without.
`cosines` compares exactly: what an index gave for several kinds, the few that pass a filter, or all.
`calibration` tells what a score means in this library, by a sample of it.
`arrange` gives the best other places, or leaves some out: diversity, recency, variants.
"""

from .answer import search
from .calibration import forget_samples
from .cosines import exact_cosines
from .kinds import SHAPES, encoder_of

__all__ = ["SHAPES", "encoder_of", "exact_cosines", "forget_samples", "search"]
