"""Which source files a stage's results come from, and their digest: to notice code that changed under an unchanged STAGE_VERSION."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tasks.contract import Stage

OURS = ("tasks", "model_registry")
DATA = {".yaml", ".json", ".html", ".j2", ".css"}


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


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


@cache
def _file(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # `from package.module import function`: the last part is no module
        return None
    return Path(spec.origin) if spec and spec.origin else None
