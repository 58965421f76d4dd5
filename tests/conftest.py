"""Give the tests the package under a plain name, as ComfyUI itself would load it: from its `__init__.py`, by path."""

import importlib.util
import sys
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PACKAGE_ROOT / "tests"))  # for `host`, the tests' shared helpers; never the package root itself

if "diffusion_toolkit" not in sys.modules:
    spec = importlib.util.spec_from_file_location("diffusion_toolkit", PACKAGE_ROOT / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["diffusion_toolkit"] = module
    spec.loader.exec_module(module)
