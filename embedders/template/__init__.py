"""Graphs in API format as templates: where each setting stands, filling it in, and which names this computer lacks."""

from .fill import Filled, FillError, fill, reseed
from .present import Lacking, lacking, nearest, unknown_classes

__all__ = ["FillError", "Filled", "Lacking", "fill", "lacking", "nearest", "reseed", "unknown_classes"]
