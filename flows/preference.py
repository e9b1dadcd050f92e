"""Turns of preference tuning: what people rated since the last turn becomes a round, an arm that starts from the round before.

    answers of the newest model to weakness probes → people rate them → preferences → the next round → its answers …

A turn is two sweeps: the experiment with all rounds so far as arms, on what is reported; and the newest model on the probes, whose answers are to be
rated. Where nothing was rated since, both are cached. Rounds are kept, so that what was tuned once is never tuned on other ratings:

    <home>/preferences/<experiment>-<arm>/rounds.json   which sweeps were probed, and which ratings made which round
                                          round_1.jsonl

Knows how an experiment with rounds follows from one whose arm has `preferences: {…: null}`. Leaves what a preference is to
`tasks.ratings.preferences`, and probing to `flows.probing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from configs.problems import BadInput, accepted
from configs.schema import Experiment, Tuned
from configs.shipped import find_experiment
from flows import derived, rating
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.experiment import read_experiment
from flows.prepared import prepare_run
from flows.probing import probed_arm, write_probing
from flows.request import Prefer, Request, request
from tasks.contract import canonical, read_json, replace_file
from tasks.datasets.preferences import Preference, preferences_text
from tasks.ratings.kept import Rated
from tasks.ratings.preferences import Paired, Rule

STATE = "rounds.json"


@dataclass(frozen=True)
class Round:
    """What one round learns from: a file of preferences, and the ratings that made it."""

    file: str
    ratings: Sequence[Sequence[str]]  # project, item, rater


@dataclass(frozen=True)
class State:
    """probed: the sweeps whose answers were given out to be rated, oldest first."""

    probed: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()

    def with_probed(self, sweep: str) -> State:
        return self if sweep in self.probed else replace(self, probed=(*self.probed, sweep))


@dataclass(frozen=True)
class Turn:
    """A turn of one experiment. `told`: what became of the ratings, in a line for people; empty before they were looked at."""

    home: Home
    asked: Request
    prefer: Prefer
    experiment: Experiment
    source: Path
    folder: Path
    state: State
    told: str = ""

    @property
    def arms(self) -> list[str]:
        """The rounds' arms, oldest first."""
        return [f"{self.prefer.arm}_{number}" for number in range(1, len(self.state.rounds) + 1)]

    def sweeps(self) -> Iterator[Request]:
        """The two sweeps of the turn; ask for the second when the first has come to its end. The second is noted as probed."""
        yield self._with_rounds()
        asked = self.probing()
        sweep = prepare_run(self.home, asked).dag.sweep
        with locked(self.folder / "lock"):
            _write(self.folder, _read(self.folder).with_probed(sweep))
        yield asked

    def probing(self) -> Request:
        """The newest model on the probes: that of the last round, or the one that the first round starts from."""
        run = prepare_run(self.home, self._with_rounds())
        arm = self.arms[-1] if self.arms else probed_arm(run.experiment, _collecting(self.experiment, self.prefer.arm).start)
        probes = Path(self.prefer.probes) if self.prefer.probes else None
        return self._like(write_probing(self.home, run, arm, self.prefer.size, probes))

    def _with_rounds(self) -> Request:
        document = with_rounds(
            self.experiment, self.source, self.prefer.arm, [self.folder / one.file for one in self.state.rounds]
        )
        why = f"{self.experiment.name}, with a round of {self.prefer.arm} for every time that people had rated"
        return self._like(derived.write(document, self.folder / f"rounds_{len(self.state.rounds)}.yaml", why))

    def _like(self, config: Path) -> Request:
        asked = self.asked
        return request(str(config), verify=asked.verify, strict_code=asked.strict_code, overlap=asked.overlap)


def opened(home: Home, asked: Request) -> Turn:
    """The turns of an experiment as they stand: nothing is taken in.

    Raises:
        BadInput: the experiment cannot be read, or its arm collects no preferences.
    """
    assert asked.prefer is not None
    source = find_experiment(asked.config).absolute()
    experiment = read_experiment(source, asked.sets)
    _collecting(experiment, asked.prefer.arm)
    folder = home.root / "preferences" / f"{experiment.name}-{asked.prefer.arm}"
    home.below(folder)
    return Turn(home, asked, asked.prefer, experiment, source, folder, _read(folder))


def begin(home: Home, asked: Request) -> Turn:
    """A turn: whatever people rated since the last one is taken into a round of its own.

    Raises:
        BadInput: as `opened`; the experiment cannot be run; or ratings of people and of simulated raters would be mixed.
    """
    turn = opened(home, asked)
    prefer, folder = turn.prefer, turn.folder
    with locked(folder / "lock"):
        state = _read(folder)
        if not state.probed:  # another arm's turns may have had the same answers rated
            state = state.with_probed(prepare_run(home, turn.probing()).dag.sweep)
        used = {tuple(one) for held in state.rounds for one in held.ratings}
        paired, ratings = rating.paired(home, state.probed, Rule(prefer.margin, prefer.agreement, prefer.uses), used)
        told = _told(state, paired, ratings, prefer)
        if len(paired.preferences) >= prefer.least:
            state = _with_round(folder, state, paired.preferences, ratings)
        _write(folder, state)
    return replace(turn, state=state, told=told)


def _told(state: State, paired: Paired, ratings: Sequence[Rated], prefer: Prefer) -> str:
    if not ratings:
        since = f"since round {len(state.rounds)}" if state.rounds else "yet"
        return f"no ratings {since}"
    of = f"{len(ratings):,} new {'simulated ' if ratings[0].simulated else ''}ratings: {paired.told()}"
    if len(paired.preferences) < prefer.least:
        return f"{of}; {prefer.least} make a round: more ratings are waited for"
    return f"{of}; round {len(state.rounds) + 1}"


def with_rounds(experiment: Experiment, source: Path, arm: str, rounds: Sequence[Path]) -> dict[str, Any]:
    """The document of the experiment with the arm once for every round, each starting from the one before, and no arm where there is none yet.

    What the arm was to be compared with, each round is; and with what it starts from. These are described, not tested: how many rounds there will
    be is not known before sampling.
    """
    document = derived.standing(experiment, source)
    settings = document["arms"][arm]
    collecting = _collects(experiment)
    document["name"] = f"{experiment.name}_{arm}"[:60] if rounds else experiment.name
    document["arms"] = {name: one for name, one in document["arms"].items() if name not in collecting}
    document["preferences"] = {name: path for name, path in document["preferences"].items() if path is not None}
    whole = (*experiment.contrasts, *experiment.exploratory)
    beside = [one.reference for one in whole if one.treated == arm] or [experiment.comparison.reference]
    for name in ("contrasts", "exploratory"):
        document[name] = [str(one) for one in getattr(experiment, name) if not collecting & {*one.arms}]
    start = settings.get("start")
    for number, path in enumerate(rounds, 1):
        name = f"{arm}_{number}"
        document["arms"][name] = {**settings, "dataset": f"round_{number}", **({"start": start} if start else {})}
        document["preferences"][f"round_{number}"] = str(path)
        pairs = [f"{name}-{other}" for other in dict.fromkeys([*beside, *([start] if start else [])])]
        document["exploratory"] += [pair for pair in pairs if pair not in document["exploratory"]]
        start = name
    return document


def _collects(experiment: Experiment) -> set[str]:
    """The arms whose preferences are to be collected."""
    return {
        name
        for name, one in experiment.arms.items()
        if isinstance(one, Tuned) and experiment.preferences.get(one.dataset, "") is None
    }


def _collecting(experiment: Experiment, arm: str) -> Tuned:
    """The arm. Raises BadInput: there is none that collects preferences, or another arm hangs on it."""
    known = _collects(experiment)
    found = experiment.arms.get(arm)
    if arm not in known or not isinstance(found, Tuned):
        raise BadInput(
            f"--arm: {arm} collects no preferences; "
            + (accepted(arm, sorted(known)) if known else "an arm whose dataset stands under `preferences:` as null is required")
        )
    for name, one in experiment.arms.items():
        if isinstance(one, Tuned) and one.start in known:
            raise BadInput(f"arms.{name}.start: {one.start} is tuned in rounds; an arm that is tuned once is required")
    if experiment.comparison.reference in known:
        raise BadInput(f"reference: {experiment.comparison.reference} is tuned in rounds; an arm that is tuned once is required")
    return found


# ---- what is kept --------------------------------------------------------------------------------------------------------------------


def _read(folder: Path) -> State:
    path = folder / STATE
    if not path.is_file():
        return State()
    try:
        given = read_json(path)
        return State(tuple(given["probed"]), tuple(Round(**one) for one in given["rounds"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: damaged ({error}); remove {folder} to begin with the first round again") from None


def _write(folder: Path, state: State) -> None:
    replace_file(folder / STATE, canonical(asdict(state)) + "\n")


def _with_round(folder: Path, state: State, found: Sequence[Preference], ratings: Sequence[Rated]) -> State:
    """With one round more, whose file is written."""
    name = f"round_{len(state.rounds) + 1}.jsonl"
    replace_file(folder / name, preferences_text(found))
    made = Round(name, [[one.project, one.item, one.rater] for one in ratings])
    return replace(state, rounds=(*state.rounds, made))
