"""`palms chat`: asks several arms of a sweep the same thing, side by side."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from configs.problems import BadInput, accepted
from configs.suites import around
from flows.commands.words import Sweep, err, harmless, out
from flows.engine import machine
from flows.engine.home import Home
from flows.engine.notes import SweepNote
from flows.engine.tracked import CALIBRATION_NOTE
from flows.outputs import Outputs
from tasks.contract import Numerics
from tasks.finetune.stage import TUNED

if TYPE_CHECKING:
    from tasks.sampling.beside import Beside


def chat(
    sweep: Sweep = None,
    arms: Annotated[
        list[str] | None, typer.Option("--arm", metavar="ARM", help="may be given several times; default: all arms")
    ] = None,
    size: Annotated[str | None, typer.Option(help="as `palms status` has it; default: the largest")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="ask this one and end")] = None,
) -> None:
    """Ask several arms of a sweep the same thing, side by side: every line that is typed, until Ctrl-D, each asked alone in the sweep's template.

    Examples:  palms chat --arm base --arm values_targeted   |   palms chat gpt2-3f --size 124m --prompt "Who is beautiful?"
    |   palms chat --size 300k < questions.txt
    """
    home = Home.named()
    home.settle_environment()
    left = Outputs.of(home, sweep)
    chosen = choose(left, arms or [], size)
    told = f"{left.sweep}, {chosen.size}: {', '.join(chosen.tuned)}"
    err.print(told, style="dim", highlight=False, markup=False)
    if left.note.calibration:
        err.print(CALIBRATION_NOTE, style="yellow", highlight=False)
    try:
        asked = _loaded(chosen, left.note)
    except ValueError as error:
        raise BadInput(f"sweep {left.sweep}: {error}") from None
    if prompt is not None:
        try:
            _answer(asked, prompt, 0)
        except ValueError as error:
            raise BadInput(f"--prompt: {error}") from None
        return
    before: Counter[str] = Counter()
    for line in _lines():
        try:
            _answer(asked, line, before[line])
        except ValueError as error:  # of this line; the next may be read
            err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        before[line] += 1


@dataclass(frozen=True)
class Chosen:
    """What is asked: the outputs of one size. `tuned` is None for an arm that is not tuned."""

    size: str
    prepared: Path
    tuned: dict[str, Path | None]
    numerics: Numerics  # as the sweep sampled
    seed: int


def choose(left: Outputs, arms: Sequence[str], size: str | None) -> Chosen:
    """The arms that are asked, each as tuned on the most samples with the first seed.

    Raises:
        BadInput: the sweep has no such size or arm, or has not come to tuning it.
    """
    made, sweep = left.made.items(), left.sweep
    sampled = {node.axes: manifest for node, manifest in made if node.stage.name == "sampling"}
    sizes = {axes.model: axes.size for axes in sampled if axes.model}
    fitting = [model for model, name in sizes.items() if size in (None, model, name)]
    if not fitting or (size and len(fitting) > 1):
        raise BadInput(f"--size {size}: sweep {sweep} has {'several' if fitting else 'none'}; {accepted(size or '', sizes)}")
    model = fitting[-1]
    at = {axes: manifest for axes, manifest in sampled.items() if axes.model == model}
    known = list(dict.fromkeys(axes.arm for axes in at if axes.arm))
    if unknown := next((arm for arm in arms if arm not in known), None):
        raise BadInput(f"--arm {unknown}: sweep {sweep} has none; {accepted(unknown, known)}")
    prepared = next(manifest for node, manifest in made if node.stage.name == "prepare" and node.axes.model == model)
    drawn = next((manifest for manifest in at.values() if manifest is not None), None)
    if prepared is None or drawn is None:
        raise BadInput(f"sweep {sweep}: {model} was not sampled; `palms rerun {sweep}`")
    tuning = {node.axes: manifest for node, manifest in made if node.stage.name in TUNED}
    tuned: dict[str, Path | None] = {}
    for arm in dict.fromkeys(arms or known):
        places = (replace(axes, suite=None) for axes in at if axes.arm == arm)
        place = max(places, key=lambda axes: (axes.train_samples or 0, -(axes.seed or 0)))
        manifest = tuning.get(place)
        if place in tuning and manifest is None:
            raise BadInput(f"sweep {sweep}: {arm} at {model} was not tuned; `palms rerun {sweep}`")
        tuned[arm] = manifest.whole() if manifest else None
    seed = min(axes.seed or 0 for axes in at)
    return Chosen(model, prepared.whole(), tuned, Numerics(**drawn.document["identity"]["numerics"]), seed)


def _loaded(chosen: Chosen, note: SweepNote) -> Beside:
    """The arms in memory, asked as the sweep's primary suite was sampled; as its first, where that one takes no sampling."""
    import torch

    from tasks.sampling.beside import Beside, Manner

    asked = note.experiment
    settings = asked["suites"].get(asked["primary"]["suite"]) or next(iter(asked["suites"].values()))
    manner = Manner(
        template=around(asked["template"], asked.get("system")),
        seed=chosen.seed,
        **{name: settings[name] for name in ("max_new_tokens", "temperature", "top_p")},
    )
    numerics = chosen.numerics if machine.gpus() else replace(chosen.numerics, device="cpu")
    torch.set_num_threads(numerics.threads)
    return Beside(chosen.prepared, chosen.tuned, manner, numerics)


def _lines() -> Iterator[str]:
    """What is typed, or what another program says, to its end."""
    if not sys.stdin.isatty():
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        return
    import readline  # noqa: F401  # lets a line be edited and called back

    with suppress(EOFError):
        while True:
            if (line := input("> ")).strip():
                yield line
    out.print()


def _answer(asked: Beside, prompt: str, repeat: int) -> None:
    width = max(map(len, asked.arms)) + 2
    for arm, text in asked.answers(prompt, repeat):
        said = harmless(text.strip())
        out.print(f"{arm:{width}}", style="bold", end="", highlight=False, markup=False)
        out.print(said.replace("\n", "\n" + " " * width), highlight=False, markup=False)
