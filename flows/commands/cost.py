"""What a run would take on a device, before anybody pays: a line for each stage and size, the sum with its interval, and how long it is on several.

How each number is told is for `flows.cost`; here it is added up and printed. The interval of a sum is as wide as if all stages were off the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.table import Table

from configs.problems import BadInput
from flows.commands.words import duration, out, plain, plural, show, volume
from flows.cost.bill import Line, alike, lines, tasks
from flows.cost.devices import Device, named, own
from flows.cost.schedule import critical_path, makespans
from flows.engine import machine
from flows.prepared import Run
from tasks.contract import Node
from tasks.finetune.stage import STAGE as FINETUNE

MANY = (1, 2, 4, 8, 16, 32, 64, 128)  # devices that a schedule is simulated on
BAR = 40  # characters


def device_of(run: Run, name: str | None) -> Device:
    """The device that was named, or the machine's own.

    Raises:
        BadInput: there is no such device, or none is named and nothing is known of the machine's own.
    """
    numerics = machine.numerics(run.experiment)
    device = own(numerics.device, numerics.threads) if name is None else named(name, numerics.threads)
    if not device.known:
        raise BadInput(f"{device.name}: {device.source} is here; --device names one that is like it")
    return device


def print_cost(run: Run, unmade: Sequence[Node], device: Device, price: float | None) -> None:
    """`price`: of a device and hour, in whatever is paid with."""
    if not unmade:
        out.print("every stage is cached: nothing is to be run", highlight=False)
        return
    told = lines(run, unmade, device)
    show(out, _table(told))
    for said in ("", *_device(told, device), *_sums(told), *_price(told, price)):
        out.print(said, highlight=False, markup=False)
    for said in _schedule(told, device, price):
        out.print(said, highlight=False, markup=False)


def _table(told: Sequence[Line]) -> Table:
    table = plain("stage", "n", "params", "FLOP", "moved", "disk", "memory", "devices", "time", "within", "")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for group in alike(told):
        known = _known(group)
        works = [line.forecast.work for line in group if line.forecast.work]
        most = max(group, key=lambda line: line.memory.gib)
        flop, moved = sum(one.steps * one.flop for one in works), sum(one.steps * one.moved for one in works)
        disk = sum(line.disk or 0.0 for line in group)
        table.add_row(
            " ".join(filter(None, group[0].kind)),
            str(len(group)),
            _short(most.params) if most.params else "",
            _short(flop) if flop else "",
            volume(moved) if moved else "",
            volume(disk) if disk else "",
            f"{most.memory.gib:.1f} GiB",
            "" if most.on is None else "no room" if most.devices is None else str(most.devices),
            duration(sum(line.seconds for line in known)) if len(known) == len(group) else "–",
            f"×÷ {max(line.forecast.within for line in known):.2g}" if len(known) == len(group) else "",
            " · ".join(dict.fromkeys(line.forecast.told for line in group)),
        )
    return table


def _known(told: Sequence[Line]) -> list[Line]:
    return [line for line in told if line.forecast.seconds is not None]


def _device(told: Sequence[Line], device: Device) -> Iterator[str]:
    precisions: dict[float, list[str]] = {}
    for precision, flops in device.flops.items():
        precisions.setdefault(flops, []).append(precision)
    speeds = ", ".join(f"{flops / 1e12:.3g} TFLOP/s in {' and '.join(those)}" for flops, those in precisions.items())
    yield f"{device.name}: {speeds}, {device.bandwidth / 1e9:,.0f} GB/s, {device.memory_gib:.0f} GiB ({device.source})"
    if not device.here:
        yield f"nothing was measured on {device.name} here: its times are the formulas' alone, with bf16 where the precision is open"
    largest = (max(group, key=lambda line: line.memory.gib) for group in alike(told))
    for line in (line for line in largest if line.on and line.devices != 1):
        stage, at, how = line.kind
        shared = "parameters, gradients and optimiser states shared out (FSDP)" if stage == FINETUNE.name else "its layers spread"
        count = "no number of them has room" if line.devices is None else f"it takes {line.devices}, {shared}"
        yield f"{' '.join(filter(None, (stage, at, how)))}: {line.memory.gib:,.0f} GiB are more than one {device.name} has room for: {count}"


def _sums(told: Sequence[Line]) -> Iterator[str]:
    known = _known(told)
    flop = sum(line.forecast.work.steps * line.forecast.work.flop for line in told if line.forecast.work)
    time = _interval(known, lambda line: line.seconds, duration)
    yield f"{plural(len(told), 'stage')}: {_short(flop)} FLOP, {time} of work, {volume(sum(line.disk or 0.0 for line in told))} of disk"
    if missing := list(dict.fromkeys(line.node.stage.name for line in told if line.forecast.seconds is None)):
        yield f"of {plural(len(told) - len(known), 'stage')} the time is not known and in no sum: {', '.join(missing)}"


def _price(told: Sequence[Line], price: float | None) -> Iterator[str]:
    if price is not None:
        money = _interval(_known(told), lambda line: line.held / 3600 * price, lambda amount: f"{amount:,.2f}")
        hours = _interval(_known(told), lambda line: line.held / 3600, lambda amount: f"{amount:.3g}")
        yield f"{hours} hours of devices, at {price:g} each: {money}"


def _interval(known: Sequence[Line], amount: Callable[[Line], float], words: Callable[[float], str]) -> str:
    """`3.4 h (1.2 h to 9.8 h)`: a sum, and what it is within."""
    low = sum(amount(line) / line.forecast.within for line in known)
    high = sum(amount(line) * line.forecast.within for line in known)
    return f"{words(sum(map(amount, known)))} ({words(low)} to {words(high)})"


def _schedule(told: Sequence[Line], device: Device, price: float | None) -> Iterator[str]:
    """How long it takes on several, as far as more of them help."""
    work = tasks([line for line in told if not (line.on and line.devices is None)])
    least = max((task.devices for task in work), default=1)
    found = makespans(work, sorted({*MANY, max(1, least)}))
    if not found or not max(found.values()):
        return
    kept = [count for place, count in enumerate(found) if not place or found[count] < 0.99 * list(found.values())[place - 1]]
    yield f"how many {device.name}s, and how long until all is done (longest chain: {duration(critical_path(work))}):"
    for count in kept:
        bar = "█" * max(1, round(BAR * found[count] / max(found.values())))
        paid = "" if price is None else f"   {count * found[count] / 3600 * price:,.2f} if all are held until then"
        yield f"  {count:>4}  {duration(found[count]):>8}  {bar}{paid}"


def _short(number: float) -> str:
    """`131M`, `1.3B`, `4.2e+17`."""
    if number >= 1e12:
        return f"{number:.2g}"
    power, unit = (1e9, "B") if number >= 1e9 else (1e6, "M") if number >= 1e6 else (1e3, "k")
    return f"{number / power:.3g}{unit}"
