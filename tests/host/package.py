"""Loads this package under the name that the tests use, by path, as ComfyUI does."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from .bootstrap import REPOSITORY

NAME = "diffusion_toolkit"


def load_package() -> ModuleType:
    """`diffusion_toolkit`, from the repository's root `__init__.py`; `import diffusion_toolkit.embedders...` works afterwards."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, REPOSITORY / "__init__.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[NAME]
