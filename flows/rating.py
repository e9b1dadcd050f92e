"""A sweep's human ratings: what there is to rate, the projects that went out, and what came back of them.

    <home>/ratings/<sweep>/projects/<project>.json   who is shown what, and the key to it: read by nobody but their owner
    <home>/ratings/<sweep>/ratings.jsonl             every rating that was accepted, with what the key says of it

Knows where these lie and how an import becomes part of them, all or nothing. Leaves assignment and acceptance to `tasks.ratings`, the forms to
its `formats`. A sweep that is run or rerun reads the ratings as it reads a dataset: by content.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from configs.problems import accepted as accepted_words
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.outputs import Outputs
from tasks.contract import Axes, digest_of, read_json, read_rows, sha256_file
from tasks.evaluations.adherence.stage import STAGE as ADHERENCE
from tasks.evaluations.human_eval.stage import EVALUATION as EXPORT
from tasks.evaluations.human_eval.stage import KEY, SHEET
from tasks.ratings.collected import Given, accept
from tasks.ratings.kept import RATINGS, Rated, Task, lines, read_rated
from tasks.ratings.preferences import Paired, Rule, preferences
from tasks.ratings.project import RATE, Extras, Item, Mode, Packet, Project, Shown, assign
from tasks.ratings.simulated import rate
from tasks.sampling.completions import COMPLETIONS
from tasks.sampling.stage import STAGE as SAMPLING


@dataclass(frozen=True)
class Kept:
    """A project as it is kept: with why each item is shown, and what it is of."""

    project: Project
    shown: Mapping[str, Shown]
    tasks: Mapping[str, Task]  # of items that are shown for themselves

    @cached_property
    def _places(self) -> dict[tuple[str, str], tuple[Item, float]]:
        """(item, rater) → the item, and where it stands in that rater's order: 0 for the first, 1 for the last."""
        return {
            (item.id, packet.rater): (item, at / max(1, len(packet.items) - 1))
            for packet in self.project.packets
            for at, item in enumerate(packet.items)
        }

    def rated(self, given: Given) -> Rated:
        """With what the key says of it."""
        shown = self.shown[given.item]
        item, order = self._places[given.item, given.rater]
        own = self.tasks.get(shown.of or given.item) or Task("", "", 0, item.category, "")  # a check is of nothing
        said = {name: getattr(given, name) for name in ("rating", "is_answer", "rank", "skipped", "seconds", "at")}
        said |= {name: _writable(getattr(given, name)) for name in ("comment", "group")}
        return Rated(
            project=self.project.id,
            item=given.item,
            rater=given.rater,
            task=own,
            block=item.block,
            order=order,
            why=shown.why,
            of=shown.of,
            expects=shown.expects,
            place=given.place,
            **said,
        )


# ---- what there is to rate ------------------------------------------------------------------------------------------------------


def to_rate(outputs: Outputs, sizes: Sequence[str] = (), completions: int | None = None) -> Iterator[tuple[Item, Task]]:
    """Every completion that the sweep has exported to be rated, with what it is of: of these sizes, and the first ones of a prompt.

    Raises BadInput: it exports none, has not come that far, or has no such size.
    """
    exported = [label for label in outputs.keys if label.split("/")[0] == EXPORT.stage.name]
    if not exported:
        raise BadInput(
            f"sweep {outputs.sweep}: exports nothing to be rated; `evaluations: human_eval: {{suites: [...]}}` in its experiment does"
        )
    there = {outputs.places[label].size or "" for label in exported}
    if unknown := sorted(set(sizes) - there):
        raise BadInput(f"--size: {unknown[0]}; {accepted_words(unknown[0], sorted(there))}")
    made = [
        (label, found)
        for label in exported
        if (not sizes or outputs.places[label].size in sizes) and (found := outputs.manifest(label))
    ]
    if not made:
        raise BadInput(f"sweep {outputs.sweep}: nothing to be rated is there yet; `palms rerun {outputs.sweep}` goes on")
    digests: dict[str, str] = {}  # of a file of completions, once
    for label, found in made:
        place = outputs.places[label]
        texts = {row["task_id"]: row for row in read_rows(found.folder / SHEET)}
        for key in read_rows(found.folder / KEY):
            if completions is not None and int(key["repeat"]) >= completions:
                continue
            row, at = texts[key["task_id"]], _sampled(outputs, place, key["arm"])
            if at not in digests:
                digests[at] = _digest(outputs, at)
            task = Task(digests[at], key["prompt_id"], int(key["repeat"]), key["group"], at)
            block = "b" + digest_of([found.key, key["prompt_id"]])[:12]
            yield Item(key["task_id"], row["category"], row["prompt"], row["completion"], block), task


def _sampled(outputs: Outputs, place: Axes, arm: str) -> str:
    """The label of the completions of an arm beside which others were exported; untuned arms stand beside every dataset size."""
    wanted = replace(place, arm=arm)
    for label, at in outputs.places.items():
        beside = at.train_samples in (None, place.train_samples) and replace(at, train_samples=place.train_samples) == wanted
        if beside and label.split("/")[0] == SAMPLING.name:
            return label
    raise BadInput(f"sweep {outputs.sweep}: no completions of {arm} beside {place}; `palms rerun {outputs.sweep}` makes them")


def _digest(outputs: Outputs, label: str) -> str:
    found = outputs.manifest(label)
    if found is None:
        raise BadInput(f"sweep {outputs.sweep}: {label} is not there; `palms rerun {outputs.sweep}` makes it")
    return sha256_file(found.folder / COMPLETIONS)


# ---- projects ------------------------------------------------------------------------------------------------------------------


def start_project(
    home: Home,
    outputs: Outputs,
    positions: Mapping[str, str],
    raters: Sequence[str],
    wanted: int,
    seed: int,
    mode: Mode = RATE,
    extras: Extras = Extras(),
    *,
    sizes: Sequence[str] = (),
    completions: int | None = None,
) -> Kept:
    """Assign what there is to rate (`to_rate`), and keep the project with its key. The same asked again is the same project.

    Raises BadInput: there is nothing to rate, a category has no position, or there are too few raters.
    """
    there = list(to_rate(outputs, sizes, completions))
    items = {item.id: item for item, _ in there}
    categories = {item.category for item in items.values()}
    try:
        project, shown = assign(
            list(items.values()),
            raters,
            wanted,
            seed,
            mode=mode,
            positions={name: said for name, said in positions.items() if name in categories},
            extras=extras,
        )
    except ValueError as refused:
        raise BadInput(f"--raters: {refused}") from None
    kept = Kept(project, shown, {item.id: task for item, task in there})
    document = {
        "project": asdict(project),
        "shown": {item: asdict(one) for item, one in shown.items()},
        "tasks": {item: asdict(task) for item, task in kept.tasks.items()},
    }
    folder = home.ratings(outputs.sweep) / "projects"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(folder / f"{project.id}.json", json.dumps(document, ensure_ascii=False))
    return kept


def projects(home: Home, sweep: str) -> dict[str, Kept]:
    """By id, the newest first."""
    paths = sorted((home.ratings(sweep) / "projects").glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return {path.stem: _kept(read_json(path)) for path in paths}


def _kept(document: Mapping[str, Any]) -> Kept:
    given = document["project"]
    packets = tuple(Packet(one["rater"], tuple(Item(**item) for item in one["items"])) for one in given["packets"])
    return Kept(
        Project(given["id"], given["mode"], given["positions"], packets),
        {item: Shown(**one) for item, one in document["shown"].items()},
        {item: Task(**one) for item, one in document["tasks"].items()},
    )


# ---- what came back ---------------------------------------------------------------------------------------------------------------


def accepted(home: Home, sweep: str) -> list[Rated]:
    """Raises BadInput: the file of accepted ratings is damaged."""
    path = home.ratings(sweep) / RATINGS
    try:
        return read_rated(path) if path.is_file() else []
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: damaged ({error}); remove it, and import the ratings again from their files") from None


def paired(
    home: Home, sweeps: Sequence[str], rule: Rule = Rule(), without: Container[tuple[str, ...]] = ()
) -> tuple[Paired, list[Rated]]:
    """The preferences in what was said of these sweeps' answers, and the ratings they are of. `without`: ratings that are left out, by project, item
    and rater.

    Raises:
        BadInput: some are of people and some of raters who do not exist.
    """
    said: list[Rated] = []
    items: dict[str, Item] = {}
    for sweep in sweeps:
        for kept in projects(home, sweep).values():
            items |= kept.project.items
        said += [one for one in accepted(home, sweep) if (one.project, one.item, one.rater) not in without]
    if len({one.simulated for one in said}) > 1:
        raise BadInput(
            "ratings of people and of simulated raters; preferences are of one kind: remove those of a sweep, or rate it anew"
        )
    return preferences(said, items, rule), said


def simulate(home: Home, outputs: Outputs, seed: int = 0) -> list[Rated]:
    """Have the newest project rated by raters who do not exist, and return what was new of it.

    Raises BadInput: the sweep is not of the calibration ladder, where alone it is known what is right, or what `take_in` raises.
    """
    known = projects(home, outputs.sweep)
    if not known:
        raise nothing_out(outputs.sweep)
    kept = next(iter(known.values()))
    calibration = {label for label, at in outputs.places.items() if at.ladder == "calibration"}
    if foreign := [task.where for task in kept.tasks.values() if task.where not in calibration]:
        raise BadInput(
            f"{foreign[0]}: simulated raters know the calibration grammar alone; people rate it (`palms ratings export {outputs.sweep}`)"
        )
    labels = _labels(outputs)
    said = rate(
        kept.project,
        kept.shown,
        {item: labels[task.where][task.prompt_id, task.repeat] for item, task in kept.tasks.items()},
        seed,
    )
    return take_in(home, outputs.sweep, said, simulated=True)


def _labels(outputs: Outputs) -> dict[str, dict[tuple[str, int], str]]:
    """Completions' label → (prompt, repeat) → what the grammar says of it. Raises BadInput where the sweep did not ask the grammar."""
    found = {}
    for label, at in outputs.places.items():
        if label.split("/")[0] == ADHERENCE.name and (made := outputs.manifest(label)):
            rows = read_rows(made.folder / "labels.csv")
            found[_sampled(outputs, at, at.arm or "")] = {(row["prompt_id"], int(row["repeat"])): row["label"] for row in rows}
    if not found:
        raise BadInput(f"sweep {outputs.sweep}: simulated raters go by the grammar's labels; `evaluations: adherence` makes them")
    return found


def take_in(home: Home, sweep: str, given: Sequence[Given], *, simulated: bool = False, revised: bool = False) -> list[Rated]:
    """Accept a batch of ratings, all or nothing, and return what was new of it; `revised`: new ones take the place of what a rater said before.

    A rating that names no project is of the newest one that has its item. People and simulated raters never rate one sweep together.

    Raises BadInput, and leaves everything as it was: no project went out, or a line for everything that is wrong.
    """
    known = projects(home, sweep)
    if not known:
        raise nothing_out(sweep)
    newest = next(iter(known))
    batches: dict[str, list[Given]] = {}
    for one in given:
        held = (
            one.project
            if one.project in known
            else next((name for name, kept in known.items() if one.item in kept.shown), newest)
        )
        batches.setdefault(held, []).append(one)
    folder = home.ratings(sweep)
    with locked(folder / "lock"):
        before = accepted(home, sweep)
        if any(one.simulated != simulated for one in before):
            raise BadInput(
                f"sweep {sweep}: was rated by {'people' if simulated else 'simulated raters'}, who are never pooled with "
                f"{'simulated ones' if simulated else 'people'}; remove {folder / RATINGS} to begin anew"
            )
        fresh: list[Rated] = []
        problems: list[str] = []
        for name, batch in batches.items():
            there = {(one.item, one.rater): _as_given(one) for one in before if one.project == name}
            try:
                fresh += [
                    replace(known[name].rated(one), simulated=simulated)
                    for one in accept(batch, known[name].project, there, revised=revised)
                ]
            except BadInput as wrong:
                problems += wrong.lines
        if problems:
            raise BadInput(*problems)
        if fresh:
            anew = {(one.project, one.item, one.rater) for one in fresh}
            kept = [one for one in before if (one.project, one.item, one.rater) not in anew]
            _replace(folder / RATINGS, lines([*kept, *fresh]))
    return fresh


def nothing_out(sweep: str) -> BadInput:
    """What is said where no project went out yet."""
    return BadInput(f"sweep {sweep}: nothing was given out to be rated; `palms ratings export {sweep}` does")


def _writable(text: str) -> str:
    """A half of a character, which a browser can hand over and no file can hold, becomes the sign for one that is lost."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _as_given(one: Rated) -> Given:
    return Given(one.item, one.rater, one.place, one.rating, one.is_answer, one.rank, one.skipped, project=one.project)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, for its owner alone. Raises OSError; what was there stays then."""
    part = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
