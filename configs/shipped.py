"""What comes with the project, by name: its data files, and the experiments over them."""

from __future__ import annotations

from pathlib import Path

from configs.problems import BadInput, nearest

CONFIGS = Path(__file__).parent
EXPERIMENTS = CONFIGS / "experiments"
SETS = CONFIGS / "sets"  # whole sets of values, a folder each, as `palms init` makes them


def find_experiment(name: str) -> Path:
    """A path as given, or the name of an experiment that is shipped."""
    path = Path(name)
    if (path / "experiment.yaml").is_file():  # a set's folder, as `palms init` makes it
        return path / "experiment.yaml"
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise BadInput(f"{name}: no such file; shipped experiments: {', '.join(shipped())}")
        return path
    if name not in shipped():
        raise BadInput(f"{name}: no such experiment; {nearest(name, shipped())} (or a path to a YAML file)")
    return shipped()[name]


def shipped() -> dict[str, Path]:
    """Name to file of every experiment that comes with the project."""
    found = {path.stem: path for path in EXPERIMENTS.glob("*.yaml")} | {
        path.parent.name: path for path in SETS.glob("*/experiment.yaml")
    }
    return dict(sorted(found.items()))
