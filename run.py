"""The Diffusion Toolkit from a shell: `python <this folder>/run.py index DIR`, with the Python that runs ComfyUI. `--help` says more."""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).absolute().parent  # not resolved: where this folder is linked into custom_nodes, ComfyUI lies around the link
NAME = "diffusion_toolkit"


def load_package() -> None:
    """This folder as a package of a plain name. It leaves `sys.path`, where its `nodes` would take the place of ComfyUI's."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE.resolve()]
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, HERE / "__init__.py", submodule_search_locations=[str(HERE)])
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)


if __name__ == "__main__":
    load_package()
    from diffusion_toolkit.nodes.command.main import main

    sys.exit(main(sys.argv[1:], HERE))
