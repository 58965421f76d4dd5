"""Graphs in API format as templates: where each setting stands, filling it in, and which names this computer lacks."""

from .fill import Filled, fill
from .present import Lacking, lacking, nearest, unknown_classes

__all__ = ["Filled", "Lacking", "fill", "lacking", "nearest", "unknown_classes"]
