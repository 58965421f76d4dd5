"""What generators other than ComfyUI write into their images: one module for each family."""

from .parsed import read_others

__all__ = ["read_others"]
