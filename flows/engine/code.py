"""Which source files a stage's results come from, and their digest: to notice code that changed under an unchanged STAGE_VERSION."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from tasks.contract import Stage

ROOT = Path(__file__).parents[2]
OURS = ("tasks", "model_registry", "configs")
DATA = {".yaml", ".json", ".html", ".j2", ".css", ".js"}


@cache
def code_digest(stage: Stage) -> str:
    """sha256 over the stage's module files: those it imports, directly or not, from this project, and the data files beside them."""
    files = sorted(module_files(stage.body.split(":")[0]))
    return hashlib.sha256("".join(f"{p.name}:{hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files).encode()).hexdigest()


def module_files(module: str) -> set[Path]:
    found: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found[name] = path
        queue += [imported for imported in _imports(path) if imported.split(".")[0] in OURS]
    beside = {
        data for path in found.values() if path.parent.name not in OURS for data in path.parent.iterdir() if data.suffix in DATA
    }
    return set(found.values()) | beside


@cache
def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in below if _file(name)]
            names += (
                modules if len(modules) == len(below) else [node.module, *modules]
            )  # a package that is only gone through holds nothing
    return names


def _file(module: str) -> Path | None:
    """The file of a module; None if there is none (`from package.module import function`: the last part is no module).

    Looked up by path: `importlib.util.find_spec` imports the parents, and with them torch into a process that must stay light.
    """
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
