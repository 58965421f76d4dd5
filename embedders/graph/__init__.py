"""Trace a ComfyUI graph from the image it saved back to the texts and settings that made it. Knows nothing else."""

from .records import Confidence, Origin, Pass, Settings, Text, Trace
from .tracer import trace

__all__ = ["Confidence", "Origin", "Pass", "Settings", "Text", "Trace", "trace"]
