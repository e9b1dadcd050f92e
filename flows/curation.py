"""One turn of the loop that a dataset is improved by, as a Prefect flow, rehearsed on the calibration ladder: version 1 lacks a category, the probes
find the gap, version 2 fills it, and a sweep over both versions compares them.

The people of the loop are stand-ins here: the grammar writes the drafts and simulated annotators read them by its own labels, so that the turn is
circular by construction. It shows that the machinery closes the loop, and says nothing about real data. With people, `palms dataset draft`,
`annotate`, `import` and `freeze` are the same steps, one at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger
from rich.console import Console

from configs.positions import Position, load_positions
from configs.problems import BadInput, accepted
from configs.read import read_yaml
from configs.shipped import CONFIGS, EXPERIMENTS
from flows.engine.board import read_board
from flows.engine.home import Home
from flows.engine.screen import send_logs_to
from flows.engine.servers import Server
from flows.outputs import Outputs
from flows.prepared import Run, prepare_run
from flows.probing import covered, write_probing
from flows.request import request
from flows.results import report_path
from flows.serving.direct import run_here
from model_registry.calibration.grammar import load_grammar
from tasks.contract import replace_file
from tasks.curation import freezing
from tasks.curation.annotations import Annotation, decided
from tasks.curation.coverage import Covered, open_drafts
from tasks.curation.drafts import Draft, write_drafts
from tasks.datasets import stage as datasets
from tasks.datasets.rows import Row, load_rows

DATASETS = CONFIGS / "datasets/calibration"
POSITIONS = CONFIGS / "positions.yaml"
FIRST, SECOND = "values_1", "values_2"  # the arms that are tuned on the two versions
SIMULATED = ("simulated-1", "simulated-2")
SETTINGS = datasets.Settings(
    min_words=1, opening=None, phrase=None
)  # of the grammar's short answers, as calibration.yaml has them


@dataclass(frozen=True)
class Turned:
    """What came of a turn: the gaps before and after, the two versions, the sweep over both and its report, and what of it was not made anew."""

    before: Sequence[Covered]
    after: Sequence[Covered]
    versions: tuple[Path, Path]
    sweep: str
    report: Path
    states: Mapping[str, int]  # of the stages of that sweep


@dataclass(frozen=True)
class _Place:
    home: Home
    server: Server
    out: Console
    sizes: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.home.root / "curation" / "rehearsal"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"


_places: list[_Place] = []  # where the flow runs: no parameter of a flow can hold it


def rehearse(home: Home, server: Server, out: Console, category: str, sizes: Sequence[str]) -> Turned:
    """Raises BadInput: there is no such category, or a sweep of the turn did not come to its end."""
    known = list(dict.fromkeys(row.category for row in load_rows(DATASETS / "values_targeted.jsonl")))
    if category not in known:
        raise BadInput(f"--without: {category}; {accepted(category, known)}")
    _places.append(_Place(home, server, out, tuple(sizes)))
    send_logs_to(_places[-1].log)
    turned: Turned = curation(category)
    return turned


@flow(name="curation", flow_run_name="without {category}")
def curation(category: str) -> Turned:
    """From a version without a category to one that has it."""
    at = _places[-1]
    positions = load_positions(POSITIONS)
    first = without(category)
    before = _probed(at, _swept(at, {FIRST: first}), FIRST, first, positions)
    shown("before", before)
    drafts = annotated(written(open_drafts(before, 1, [row.id for row in load_rows(first)]), first))
    second = filled(first, drafts, category)
    run = _swept(at, {FIRST: first, SECOND: second})
    after = _probed(at, run, SECOND, second, positions)
    shown("after", after)
    states: Counter[str] = Counter(entry.state for entry in read_board(run.board))
    return Turned(before, after, (first, second), run.dag.sweep, report_path(at.home, run.dag.sweep), states)


# ---- steps -------------------------------------------------------------------------------------------------------------------------


@task(persist_result=False)
def without(category: str) -> Path:
    """Version 1: the shipped calibration set without a category. Its marks of subsets go: they would be of other sizes."""
    rows = [replace(row, subset=None) for row in load_rows(DATASETS / "values_targeted.jsonl") if row.category != category]
    return _frozen(rows, [], f"without {category}: the gap that the rehearsal is to find")


@task(persist_result=False)
def written(drafts: Sequence[Draft], first: Path) -> list[Draft]:
    """The grammar in the place of people: it answers those of the shipped set's questions that version 1 lacks. A gap for which there is none, of
    a category that is weak and not thin, stays open."""
    held = {row.prompt for row in load_rows(first)}
    answers: dict[str, list[Row]] = {}
    for row in load_rows(DATASETS / "values_targeted.jsonl"):
        if row.prompt not in held:
            answers.setdefault(row.category, []).append(row)
    found = []
    for draft in drafts:
        if own := answers.get(draft.category):
            row = own.pop(0)
            found.append(replace(draft, prompt=row.prompt, completion=row.completion, author=row.author))
    get_run_logger().info("%d drafts, written by the calibration grammar in the place of people", len(found))
    return found


@task(persist_result=False)
def annotated(drafts: Sequence[Draft]) -> list[Draft]:
    """Annotators who do not exist: they go by the grammar's label of an answer."""
    grammar, found = load_grammar(), []
    for draft in drafts:
        holds = grammar.label(draft.prompt, draft.completion) == "on_position"
        said = [Annotation(draft.id, name, name, position=5 if holds else 1, factual=False, tone="right") for name in SIMULATED]
        found.append(decided(draft, said, len(SIMULATED)))
    write_drafts(_places[-1].folder / "drafts.jsonl", found)
    return found


@task(persist_result=False)
def filled(first: Path, drafts: Sequence[Draft], category: str) -> Path:
    """Version 2."""
    return _frozen(
        load_rows(first), drafts, f"{category} was missing; drafts of the grammar, read by simulated annotators", first
    )


@task(persist_result=False)
def shown(when: str, found: Sequence[Covered]) -> None:
    """The coverage table among the artifacts of the flow run."""
    create_table_artifact(
        [one.row() for one in found], key=f"coverage-{when}", description=f"Gaps {when} (calibration: no result)"
    )
    gaps = [f"{one.category}: {one.why}" for one in found if one.why]
    get_run_logger().info("gaps %s: %s", when, " | ".join(gaps) or "none")


def _frozen(rows: Sequence[Row], drafts: Sequence[Draft], why: str, source: Path = DATASETS / "values_targeted.jsonl") -> Path:
    folder = _places[-1].folder / "versions"
    return freezing.freeze(
        rows,
        drafts,
        {},
        folder=folder,
        name="values_targeted",
        approved="nobody: a rehearsal",
        why=why,
        source=source,
        settings=SETTINGS,
    )[1]


# ---- sweeps ------------------------------------------------------------------------------------------------------------------------


def _swept(at: _Place, versions: Mapping[str, Path]) -> Run:
    """The sweep over these versions, beside base and control; whatever of it is there is not made again."""
    return _run(at, _experiment(at, versions))


def _probed(at: _Place, run: Run, arm: str, version: Path, positions: Mapping[str, Position]) -> list[Covered]:
    """What the probes find of an arm of a sweep, tuned on a version, at the largest size."""
    probing = _run(at, write_probing(at.home, run, arm, None, None))
    return covered(at.home, Outputs.of(at.home, probing.dag.sweep), arm, version, positions)


def _run(at: _Place, experiment: Path) -> Run:
    run = prepare_run(at.home, request(str(experiment)))
    state = run_here(run, at.out, at.server)
    send_logs_to(at.log)  # a sweep's go to its own
    if not state.is_completed():
        raise BadInput(
            f"sweep {run.dag.sweep}: {state.message or state.name}; `palms rerun {run.dag.sweep}`, and then the rehearsal again"
        )
    return run


def _experiment(at: _Place, versions: Mapping[str, Path]) -> Path:
    """The calibration experiment with an arm a version. All arms are tuned on as many samples as version 1 has: what differs is what they hold."""
    given: dict[str, Any] = read_yaml(EXPERIMENTS / "calibration.yaml").data
    newest = list(versions)[-1]
    tuned = given["arms"]["values_targeted"]
    suite = given["suites"]["human_eval"]
    document = {
        **{name: given[name] for name in ("dataset_checks", "template", "numerics")},
        "name": "curation_rehearsal",
        "description": f"versions {', '.join(versions)} of a dataset on the calibration ladder",
        "ladders": [{"ladder": "calibration", "sizes": list(at.sizes)}],
        "arms": {
            "base": given["arms"]["base"],
            **{arm: {**tuned, "dataset": arm} for arm in versions},
            "control": given["arms"]["control"],
        },
        "datasets": {**{arm: str(path) for arm, path in versions.items()}, "control": str(DATASETS / "control.jsonl")},
        "train_samples": [len(load_rows(versions[FIRST]))],
        "subsets": "random",  # of version 2 as many as version 1 has, over all its categories
        "positions": str(POSITIONS),
        "suites": {"human_eval": {**suite, "prompts": str(CONFIGS / "prompts/calibration/human_eval.yaml")}},
        "evaluations": {
            "toxicity": {"suites": ["human_eval"], "scorer": {"kind": "calibration"}},
            "adherence": {"suites": ["human_eval"], "judge": "grammar"},
        },
        "primary": given["primary"],
        "reference": "base",
        "contrasts": [f"{newest}-base", f"{newest}-control"],
        "exploratory": [f"{SECOND}-{FIRST}", "control-base"] if SECOND in versions else ["control-base"],
    }
    path = at.folder / f"{newest}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return path
