"""`palms plan --cost`: the arithmetic of work against values worked by hand, the schedule against known makespans, and the command, offline."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from configs.problems import BadInput
from flows.cost.bill import lines
from flows.cost.devices import HERE, SHEETS, Device, named
from flows.cost.forecast import Output, fit, scaled, spread
from flows.cost.memory import Memory
from flows.cost.schedule import Task, critical_path, makespans
from flows.cost.work import (
    EFFICIENCY,
    PASS_LAYER_S,
    START_S,
    TUNING_LAYER_S,
    Shape,
    Work,
    decoding,
    passes,
    tuning,
)
from flows.engine.home import Home
from flows.engine.machine import gpu_models
from flows.prepared import Run, prepare_run
from flows.request import request
from model_registry.catalog import load_ladder
from tests import sweeps

OPT = "ladders=[{ladder: opt, sizes: [125m, 350m, 1.3b, 2.7b, 6.7b, 13b, 30b, 66b]}]"
SLOW = Device(
    "slow", {"fp32": 1e3 / EFFICIENCY, "bf16": 2e3 / EFFICIENCY}, 1e2 / EFFICIENCY, 16.0, "made up"
)  # 1,000 FLOP/s and 100 B/s are reached


# ---- work ---------------------------------------------------------------------------------------------------------------------------


def test_a_step_takes_as_long_as_the_slowest_of_three() -> None:
    assert Work(10, flop=5e3, moved=1.0, overhead=0.5).seconds(SLOW, "fp32") == pytest.approx(START_S + 10 * 5)
    assert Work(10, flop=5e3, moved=1.0, overhead=0.5).seconds(SLOW, "bf16") == pytest.approx(START_S + 10 * 2.5)
    assert Work(10, flop=1.0, moved=3e2, overhead=0.5).seconds(SLOW, "fp32") == pytest.approx(START_S + 10 * 3)
    assert Work(10, flop=1.0, moved=1.0, overhead=0.5).seconds(SLOW, "fp32") == pytest.approx(START_S + 10 * 0.5)


def test_a_processor_does_one_after_the_other() -> None:
    processor = replace(SLOW, name=HERE)
    assert Work(10, flop=5e3, moved=3e2, overhead=0.5).parts(processor, "fp32") == pytest.approx((START_S + 10 * 0.5, 10 * 5))


def test_the_work_of_tuning_by_hand() -> None:
    whole = tuning(1000, 2, steps=10, tokens=50, pieces=2, whole=True)
    assert whole == Work(10, flop=6 * 1000 * 50, moved=2 * 2 * 4 * 1000 + 2 * 8 * 1000 + 28 * 1000, overhead=2 * TUNING_LAYER_S)
    adapter = tuning(1000, 2, steps=10, tokens=50, pieces=2, whole=False, number=2)
    assert adapter == Work(10, flop=4 * 1000 * 50, moved=2 * 2 * 2 * 1000, overhead=2 * TUNING_LAYER_S)
    pairs = tuning(1000, 2, steps=10, tokens=50, pieces=2, whole=False, reference=True)  # another model reads them too
    assert (pairs.flop, pairs.moved) == (6 * 1000 * 50, 2 * 3 * 4 * 1000)


def test_the_work_of_decoding_by_hand() -> None:
    work = decoding(1000, Shape(2, 10, 1, 50), rows=10, together=4, new=8, asked=3, read=30)
    assert work.steps == 3 * 8  # three batches of four rows
    assert work.flop == pytest.approx(2 * 1000 * (4 + 30 / 24))  # a token of each row, and the prompts once over all steps
    assert work.moved == 4 * 1000 + 4 * (3 + 4) * (
        2 * 2 * 10 * 4
    )  # weights, and keys and values of the prompt and half an answer
    assert work.overhead == 2 * PASS_LAYER_S


def test_the_work_of_forward_passes_by_hand() -> None:
    work = passes(1000, 2, passes=5, tokens=60, least=0.5)
    assert work == Work(5, flop=2 * 1000 * 12, moved=4000, overhead=2 * PASS_LAYER_S + 0.5)


@pytest.mark.parametrize("rung", load_ladder("opt").rungs.values(), ids=lambda rung: rung.size)
def test_a_guessed_shape_has_the_parameters_that_it_was_guessed_from(rung: object) -> None:
    params = rung.params  # type: ignore[attr-defined]
    shape = Shape.guessed(params)
    assert 12 * shape.layers * shape.width**2 == pytest.approx(params, rel=0.1)


def test_opts_largest_is_guessed_about_as_it_is() -> None:
    shape = Shape.guessed(load_ladder("opt").rungs["66b"].params or 0)
    assert shape.layers * shape.width == pytest.approx(64 * 9216, rel=0.15)  # what its keys and values hang on


# ---- devices and memory -------------------------------------------------------------------------------------------------------------


def test_a_model_is_shared_out_over_as_many_devices_as_have_room() -> None:
    device = Device("ten", {}, 1.0, 10.0, "made up")  # nine of its ten GiB are used
    assert Memory(gib=9.0, spread=8.0, told="").devices(device) == 1
    assert Memory(gib=9.5, spread=8.5, told="").devices(device) == 2  # 8.5 GiB, eight on each beside one that each holds
    assert Memory(gib=41.0, spread=40.0, told="").devices(device) == 5
    assert Memory(gib=41.0, spread=31.0, told="").devices(device) is None  # what each holds is more than it has room for


def test_a_device_that_is_not_there_is_one_line_with_all_that_are() -> None:
    with pytest.raises(BadInput) as refused:
        named("h20", 1)
    assert refused.value.lines == (
        "--device: no such device 'h20'; did you mean 'h200'? accepted are cpu, h200, h100, a100, l40s",
    )


def test_what_the_driver_calls_its_devices_tells_which_one_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("0000:01", "0000:02"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 11\n")
    assert gpu_models(tmp_path) == ("NVIDIA H200", "NVIDIA H200")
    assert not SHEETS["h200"].here
    monkeypatch.setattr("flows.engine.machine.gpu_models", lambda: ("NVIDIA H200",))
    assert SHEETS["h200"].here
    assert not SHEETS["h100"].here


# ---- what was measured --------------------------------------------------------------------------------------------------------------


def output(
    params: float, suite: str = "s", arm: str = "a", overhead: float = 1.0, busy: float = 0.0, took: float = math.nan
) -> Output:
    return Output(params, suite, arm, took, overhead, busy)


def measured(*outputs: Output) -> list[Output]:
    """By a machine whose overhead is twice as long as the formulas', and whose products are three times as long."""
    return [replace(one, seconds=2 * one.overhead + 3 * one.busy) for one in outputs]


def test_overhead_and_computing_are_told_apart_by_sizes() -> None:
    small, large = output(1e6, busy=0.1), output(4e6, busy=4.0)
    assert fit(measured(small, large)) == pytest.approx((2, 3), rel=0.1)  # drawn together a little
    assert scaled(output(9e6, busy=9.0), measured(small, large)) == pytest.approx(2 + 27, rel=0.1)


def test_of_one_size_both_are_scaled_alike() -> None:
    (one,) = measured(output(1e6, busy=1.0))
    assert fit([one]) == pytest.approx((2.5, 2.5))
    assert scaled(output(2e6, busy=2.0), [one]) == pytest.approx(2.5 * 3)


def test_computing_is_never_faster_than_the_peak() -> None:
    outputs = [output(1e6, busy=1.0, took=3.0), output(4e6, busy=4.0, took=3.0)]  # noise: the larger took no longer
    assert fit(outputs)[1] == EFFICIENCY


def test_the_nearest_outputs_tell_the_rest() -> None:
    size, other = 1e6, 2e6
    outputs = [
        output(size, "short", "base", took=2.0),
        output(size, "long", "base", took=4.0),
        output(size, "long", "tuned", took=6.0),
        output(other, "long", "tuned", took=6.0),
    ]
    assert scaled(output(size, "long", "tuned"), outputs) == pytest.approx(6)
    assert scaled(output(size, "long", "new"), outputs) == pytest.approx(5)  # the median over arms
    assert scaled(output(size, "new", "base"), outputs) == pytest.approx(3)
    assert scaled(output(3e6, "short", "base"), outputs) == pytest.approx(2)
    assert scaled(output(1e9), outputs) is None  # so large a model is told by the formula alone


def test_how_far_sizes_lie_apart_is_what_is_told_of_the_next() -> None:
    outputs = [output(1e6, took=2.0), output(1e6, took=2.0), output(2e6, took=3.0)]
    assert spread(outputs, lambda one: one.params) == pytest.approx(1.5)
    assert spread(outputs[:2], lambda one: one.params) is None


# ---- the schedule -------------------------------------------------------------------------------------------------------------------


def task(name: str, seconds: float, *after: str, **more: object) -> Task:
    return Task(name, seconds, frozenset(after), **more)  # type: ignore[arg-type]


def test_one_device_takes_the_sum_and_many_the_longest_chain() -> None:
    tasks = [task("a", 3), task("b", 2, "a"), task("c", 4, "a"), task("d", 1, "b", "c"), task("e", 5)]
    assert makespans(tasks, [1, 2, 50]) == {1: 15, 2: 10, 50: 8}
    assert critical_path(tasks) == 8


def test_a_group_shares_a_process_and_each_of_it_is_done_in_its_turn() -> None:
    tasks = [task("a", 2, group="g"), task("b", 3, group="g"), task("after a", 4, "a"), task("after b", 4, "b")]
    assert makespans(tasks, [9]) == {9: 2 + 3 + 4}  # b waits for a, and what reads a does not wait for b
    assert critical_path(tasks) == 7


def test_of_a_group_only_what_is_ready_at_once_shares() -> None:
    tasks = [task("a", 5, group="g"), task("x", 1), task("b", 5, "x", group="g")]
    assert makespans(tasks, [2]) == {2: 6}


def test_nodes_that_are_made_together_wait_for_one_another() -> None:
    apart = [task("x", 1), task("y", 6), task("a", 2, "x"), task("b", 2, "y")]
    tasks = [apart[0], apart[1], task("a", 2, "x", group="g", together="t"), task("b", 2, "y", group="g", together="t")]
    assert makespans(apart, [9]) == {9: 8}
    assert makespans(tasks, [9]) == {9: 10}


def test_a_wide_task_waits_for_its_devices_and_has_no_room_on_fewer() -> None:
    tasks = [task("a", 2), task("wide", 3, devices=2), task("none", 1, devices=0)]
    assert makespans(tasks, [1, 2, 3]) == {2: 5, 3: 3}


def test_more_devices_never_take_longer() -> None:
    """Graham's anomaly (1969): a queue does these in 12 on three devices and in 15 on four."""
    seconds = dict(zip("abcdefghi", (3, 2, 2, 2, 4, 4, 4, 4, 9), strict=True))
    after = {"i": ("a",), **dict.fromkeys("efgh", ("d",))}
    assert makespans([task(name, took, *after.get(name, ())) for name, took in seconds.items()], [3, 4]) == {3: 12, 4: 12}


@pytest.mark.parametrize("seed", range(20))
def test_any_schedule_lies_between_its_bounds(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"t{number}" for number in range(40)]
    tasks = [
        task(name, rng.uniform(0.1, 9), *rng.sample(names[:place], min(place, rng.randrange(3))))
        for place, name in enumerate(names)
    ]
    found = makespans(tasks, range(1, 41))
    work, longest = sum(one.seconds for one in tasks), critical_path(tasks)
    assert found[1] == pytest.approx(work)
    assert found[40] == pytest.approx(longest)
    for count, took in found.items():
        assert max(longest, work / count) - 1e-9 <= took <= longest + (work - longest) / count + 1e-9  # Graham's bound of a queue
        assert count == 1 or took <= found[count - 1]


# ---- the command --------------------------------------------------------------------------------------------------------------------


def prepared(home: Path, name: str, *sets: str) -> Run:
    return prepare_run(Home(home), request(name, list(sets)))


DPO = "arms.dpo={method: dpo, dataset: values_targeted, epochs: 1, learning_rate: 1.0e-4, batch: 4, rank: 64, alpha: 32}"


@pytest.mark.parametrize(("name", "sets"), [("gpt2", (DPO,)), ("pythia", ()), ("qwen3", ())])
def test_every_stage_with_a_formula_has_work_and_a_time_on_a_gpu(tmp_path: Path, name: str, sets: tuple[str, ...]) -> None:
    run = prepared(tmp_path, name, *sets)
    told = lines(run, run.dag.nodes, SHEETS["a100"])
    known = {line.node.stage.name for line in told if line.forecast.seconds is not None}
    assert {"finetune", "sampling", "toxicity"} & {node.stage.name for node in run.dag.nodes} <= known
    assert {"datasets", "compare", "refusal"}.isdisjoint(known)  # nothing is invented where nothing was measured
    for line in told:
        if line.forecast.seconds is not None:
            assert 0 < line.forecast.seconds < math.inf
            assert line.forecast.within > 1


def test_the_opt_ladder_is_told_of_before_anything_is_fetched(tmp_path: Path) -> None:
    said = sweeps.palms(tmp_path, "plan", "opt", "--cost", "--device", "h200", "--price", "3.5", "--set", OPT).stdout
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    assert all(f"sampling opt-{size}" in rows for size in ("125m", "1.3b", "66b"))
    assert "65.7B" in rows["sampling opt-66b"]
    assert "finetune opt-66b full: 1,2" in said
    assert "(FSDP)" in said
    assert "nothing was measured on h200 here" in said
    assert "hours of devices, at 3.5 each" in said
    assert "of 217 stages the time is not known" in said
    assert not (tmp_path / "store").exists()


def test_this_machine_is_timed_and_tells_what_one_after_the_other_takes(tmp_path: Path) -> None:
    said = sweeps.palms(tmp_path, "plan", "calibration", "--cost").stdout.splitlines()
    (device,) = (line for line in said if line.startswith("cpu: "))
    assert "timed here, 1 of its threads" in device
    (whole,) = (line for line in said if line.startswith("153 stages: "))
    one = next(line for line in said if line.startswith("     1  "))
    assert one.split()[1:3] == whole.split(" FLOP, ")[1].split()[:2]  # on one device all stages take their sum


def test_what_cannot_be_asked_is_one_line(tmp_path: Path) -> None:
    for given, line in (
        (
            ("--cost", "--device", "tpu"),
            "error: --device: no such device 'tpu'; did you mean 'cpu'? accepted are cpu, h200, h100, a100, l40s",
        ),
        (("--device", "h200"), "error: --device is what --cost is asked for; give both"),
        (("--cost", "--price", "0"), "error: --price 0: a number above 0 is accepted"),
        (("--cost", "--fit"), "error: --fit, --cost: each is told instead of the plan; one of them is accepted"),
    ):
        assert sweeps.palms(tmp_path, "plan", "opt", *given, status=2).stderr.splitlines() == [line]
