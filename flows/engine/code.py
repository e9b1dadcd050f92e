"""Which source files a stage's results come from, and their digest: to notice code that changed under an unchanged STAGE_VERSION."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from tasks.contract import Stage

ROOT = Path(__file__).parents[2]
OURS = ("tasks", "model_registry", "configs")
DATA = {".yaml", ".json", ".html", ".j2", ".css", ".js"}

# `from package import (name, name as other)` and `import name, name as other`, at the beginning of a line. Found in the text: parsing the
# 190 files of a sweep's stages took 0.5 s of every command, and this takes 0.02
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import\b[ \t]*(\((?:[^)#]|#.*)*\)|.*)", re.MULTILINE)
_COMMENT = re.compile(r"#.*")
_NAME = re.compile(r"(?:^|,)[\s(]*([\w.]+)")


@cache
def code_digest(stage: Stage) -> str:
    """sha256 over the stage's module files: those it imports, directly or not, from this project, and the data files beside them."""
    return digest_of_modules(stage.body.split(":")[0])


def digest_of_modules(*modules: str) -> str:
    """sha256 over the files of some modules together, as `code_digest` has them."""
    files = sorted(set().union(*map(module_files, modules)))
    return hashlib.sha256("".join(f"{p.name}:{hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files).encode()).hexdigest()


@cache
def project_digest() -> str:
    """sha256 over all modules of this project and the data files beside them, as they are when it is first asked."""
    files = sorted(path for name in ("flows", *OURS) for path in (ROOT / name).rglob("*") if path.suffix in {".py", *DATA})
    told = "".join(f"{path.relative_to(ROOT)}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in files)
    return hashlib.sha256(told.encode()).hexdigest()


def module_files(module: str) -> set[Path]:
    found: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        path = module_file(name)
        if name in found or path is None:
            continue
        found[name] = path
        queue += imports(path)
    beside = {
        data for path in found.values() if path.parent.name not in OURS for data in path.parent.iterdir() if data.suffix in DATA
    }
    return set(found.values()) | beside


@cache
def imports(path: Path) -> list[str]:
    names: list[str] = []
    for package, listed in _IMPORT.findall(path.read_text(encoding="utf-8")):
        imported = _NAME.findall(_COMMENT.sub("", listed))
        if not package:
            names += imported
        elif package.split(".")[0] in OURS:
            below = [f"{package}.{name}" for name in imported]
            modules = [name for name in below if module_file(name)]
            names += (
                modules if len(modules) == len(below) else [package, *modules]
            )  # a package that is only gone through holds nothing
    return [name for name in names if name.split(".")[0] in OURS]


@cache
def module_file(module: str) -> Path | None:
    """The file of a module; None if there is none (`from package.module import function`: the last part is no module).

    Looked up by path: `importlib.util.find_spec` imports the parents, and with them torch into a process that must stay light.
    """
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
