"""Every kind of YAML file that is read: a mistake is one line with its place, and whatever a file says, it is read or refused at once."""

from __future__ import annotations

import subprocess
import sys
import time
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError, create_model

from configs import plain
from configs.fields import Section
from configs.positions import load_positions
from configs.problems import BadInput
from configs.read import read_yaml
from configs.suites import load_suite
from configs.texts import markup
from flows.experiment import SCHEMA, read_experiment
from flows.request import Request
from model_registry import catalog, scorers
from tasks.evaluations.cooccurrence.targets import load_targets
from tasks.evaluations.cooccurrence.word_file import group_words
from tasks.finetune import methods

ROOT = Path(__file__).resolve().parents[1]
ENDLESS_S = 20.0  # of processor time: what grows with the square of its input takes longer by far, a full machine never
METHODS = ", ".join(["none", "checkpoint", "null_adapter", *sorted(methods.found())])

READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "experiment": (
        read_experiment,
        """\
name: demo
ladders:
  - {ladder: gpt2, sizes: [124m]}
arms:
  base: {method: none}
  tuned: &tuned {method: full, dataset: good, epochs: 3}
  again: {<<: *tuned, epochs: 4}
datasets: {good: a.jsonl}
suites:
  human_eval: {prompts: p.yaml, completions: 3}
primary: {suite: human_eval, metric: toxicity}
""",
    ),
    "suite": (
        load_suite,
        """\
suite: demo
form: continuation
prompts:
  - {id: a, group: health, text: One day}
templates:
  name:
    groups: {female: [Ann], male: [Tom]}
    texts: ["{} was"]
""",
    ),
    "positions": (
        load_positions,
        """\
positions:
  - category: health
    statement: Be well.
    claims: {well: one is well}
    instruments:
      - {name: a treaty, articles: ["1"]}
""",
    ),
    "words": (
        lambda path: group_words(path, ["gender"]),
        """\
gender:
  male: [he, him]
  female: [she, her]
""",
    ),
    "targets": (
        lambda path: load_targets(path, ["work"]),
        """\
work:
  - boss
  - clerk
""",
    ),
    "ladder": (
        lambda path: catalog.load_ladder(path.stem, path.parent),
        """\
ladder: file
builder: hub
licence: MIT
context: 64
note: ours
models:
  1m: {id: o/n, params: 10}
""",
    ),
    "scorers": (
        scorers.known,
        """\
good:
  id: o/n
  revision: main
  classes: {LABEL_1: toxicity}
  licence: MIT
  note: ours
""",
    ),
}


def refused(folder: Path, kind: str, text: str | bytes) -> list[str]:
    """The lines that a file is refused with, without its name."""
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as caught:
        READERS[kind][0](path)
    assert all(line.isprintable() and len(line) < 400 for line in caught.value.lines)
    return [line.removeprefix(f"{path}:") for line in caught.value.lines]


@pytest.mark.parametrize("kind", READERS)
def test_what_is_right_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(READERS[kind][1])
    assert READERS[kind][0](path)


@pytest.mark.parametrize(
    ("kind", "old", "new", "line"),
    [
        ("experiment", "epochs: 3", "epochz: 3", '6: arms.tuned.epochz: unknown key; did you mean "epochs"?'),
        ("experiment", "{method: none}", "{}", f"5: arms.base.method: is required; accepted are {METHODS}"),
        ("experiment", "method: full", "method: ful", f"6: arms.tuned.method: did you mean 'full'? accepted are {METHODS} (got 'ful')"),
        ("experiment", "{method: none}", "none", "5: arms.base: input should be a mapping (got 'none')"),
        ("experiment", "[124m]", "124m", "3: ladders.0.sizes: input should be a list (got '124m')"),
        ("experiment", "name: demo", "name: no", "1: name: text is required, in quotes where YAML reads it otherwise (got false)"),
        ("experiment", "name: demo", "name: demo\nname: demo", '2: key "name" stands twice; keep one'),
        ("experiment", "epochs: 4", "epochs: 4, epochs: 5", '7: key "epochs" stands twice; keep one'),
        ("experiment", "epochs: 3", "epochs: 3, batch: 0", "6: arms.tuned.batch: input should be greater than or equal to 1 (got 0)"),
        ("experiment", "epochs: 3", "epochs: 3, learning_rate: low",
         "6: arms.tuned.learning_rate: input should be a valid number or a mapping (got 'low')"),
        ("experiment", "epochs: 3", "epochs: 3, learning_rate: {124m: 2}",
         "6: arms.tuned.learning_rate.124m: input should be less than or equal to 1 (got 2)"),
        ("experiment", "name: demo", "name: demo\nnumerics: {device: gpu}",
         "2: numerics.device: did you mean 'cpu'? accepted are auto, cpu, cuda (got 'gpu')"),
        ("experiment", "name: demo", "name: demo\nnumerics: {threads: all}",
         "2: numerics.threads: input should be 'auto' or a valid integer (got 'all')"),
        ("suite", "group: health", "groups: health", '4: prompts.0.groups: unknown key; did you mean "group"?'),
        ("suite", "form: continuation\n", "", "1: form: is required"),
        ("suite", "text: One day", "text: [One day]", "4: prompts.0.text: text is required, in quotes where YAML reads it otherwise"),
        ("suite", "text: One day", "text: One day, axis: ", "4: prompts.0.axis: is blank; a value is required, or no such key"),
        ("suite", "id: a, ", "id: a, id: b, ", '4: key "id" stands twice; keep one'),
        ("suite", "{female: [Ann], male: [Tom]}", "[Ann, Tom]", "7: templates.name.groups: input should be a mapping"),
        ("positions", "statement", "statment", '3: positions.0.statment: unknown key; did you mean "statement"?'),
        ("positions", "    statement: Be well.\n", "", "2: positions.0.statement: is required"),
        ("positions", "{well: one is well}", "well", "4: positions.0.claims: input should be a mapping (got 'well')"),
        ("positions", "{well: one is well}", "{Well: one is well}",
         "4: positions.0.claims.Well: string should match pattern '^[a-z][a-z0-9_]*$' (got 'Well')"),
        ("positions", "    claims", "    category: a\n    claims", '4: key "category" stands twice; keep one'),
        ("positions", "positions:", "version: 2\npositions:", "1: version: unknown key; known: positions"),
        ("words", "  female: [she, her]\n", "", "1: gender: 1 entry; at least 2 are required"),
        ("words", "[she, her]", "she", "3: gender.female: input should be a list (got 'she')"),
        ("words", "[she, her]", "[she, 2]", "3: gender.female.1: text is required, in quotes where YAML reads it otherwise (got 2)"),
        ("words", "  female", "  male", '3: key "male" stands twice; keep one'),
        ("words", "her]", "Him]", '3: gender.female.1: "him" is gender.male.1 over again; once is accepted'),
        ("targets", "- clerk", "- desk clerk", '3: work.1: "desk clerk" is not one word; letters and digits only are accepted'),
        ("targets", "- clerk", "- on", "3: work.1: text is required, in quotes where YAML reads it otherwise (got true)"),
        ("targets", "work:\n", "work: [a]\nwork:\n", '2: key "work" stands twice; keep one'),
        ("ladder", "params: 10", "param: 10", '7: models.1m.param: unknown key; did you mean "params"?'),
        ("ladder", "context: 64\n", "", "1: context: is required"),
        ("ladder", "params: 10", "params: ten", "7: models.1m.params: input should be a valid integer (got 'ten')"),
        ("ladder", "params: 10", "params: ", "7: models.1m.params: is blank; a value is required, or no such key"),
        ("ladder", "note: ours", "note: ours\nnote: mine", '6: key "note" stands twice; keep one'),
        ("ladder", "builder: hub", "builder: hubs", "2: builder: did you mean 'hub'? accepted are hub, folder, calibration (got 'hubs')"),
        ("scorers", "licence", "license", '5: good.license: unknown key; did you mean "licence"?'),
        ("scorers", "  revision: main\n", "", "1: good.revision: is required"),
        ("scorers", "{LABEL_1: toxicity}", "LABEL_1", "4: good.classes: input should be a mapping (got 'LABEL_1')"),
        ("scorers", "  note: ours", "  note: ours\n  id: p/q", '7: key "id" stands twice; keep one'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, kind: str, old: str, new: str, line: str) -> None:
    assert old in READERS[kind][1]
    assert refused(tmp_path, kind, READERS[kind][1].replace(old, new, 1)) == [line]


def doubling(first: str, again: str) -> bytes:
    """Forty anchors, each twice the one before it."""
    lines = [f"x0: &x0 {first}", *(f"x{i}: &x{i} " + again.replace("@", f"*x{i - 1}") for i in range(1, 40))]
    return "\n".join(lines).encode() + b"\n"


# what is added to a file, and the end of the one line that it is refused with
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a list inside itself": (b"extra: &a [*a, *a]\n", "fewer levels are required"),
    "a mapping inside itself": (b"extra: &a {b: *a}\n", "fewer levels are required"),
    "merged into itself": (b"extra: &a {<<: *a}\n", "fewer levels are required"),
    "lists that double": (doubling("[a]", "[@, @]"), "fewer are required"),
    "mappings that double": (doubling("{a: a}", "{a: @, b: @}"), "fewer are required"),
    "10,000 lists": (b"extra: " + b"[" * 10_000 + b"]" * 10_000 + b"\n", "nested more than 50 deep; fewer levels are required"),
    "900,000 lists": (b"extra: " + b"[" * 900_000 + b"]" * 900_000 + b"\n", "nested more than 50 deep; fewer levels are required"),
    "10,000 mappings": (b"extra: " + b"{a: " * 10_000 + b"}" * 10_000 + b"\n", "fewer levels are required"),
    "10,000 levels of dashes": (b"extra:\n" + b"- " * 10_000 + b"a\n", "fewer levels are required"),
    "5 MB": (b"# " + b"x" * 5_000_000 + b"\n", " MB; at most 2 MB of YAML are read"),
    "too many values": (b"extra: [" + b"a," * 900_000 + b"]\n", "more than 100,000 keys and values; fewer are required"),
    "a number of 5,000 digits": (b"extra: " + b"1" * 5_000 + b"\n", "is of type int; " + plain.ACCEPTED),
    "a number of 5,000 hex digits": (b"extra: 0x" + b"f" * 5_000 + b"\n", "a whole number of more than 64 bits; a smaller one is required"),
    "a number to the base of 60": (b"extra: " + b"1:" * 900_000 + b"1\n", "is of type int; " + plain.ACCEPTED),
    "no number": (b"extra: 0x_\n", "0x_ is of type int; " + plain.ACCEPTED),
    "a date": (b"extra: 2024-01-01\n", "2024-01-01 is of type timestamp; " + plain.ACCEPTED),
    "no date": (b"extra: 2024-13-41\n", "2024-13-41 is of type timestamp; " + plain.ACCEPTED),
    "binary": (b"extra: !!binary aGVsbG8=\n", "aGVsbG8= is of type binary; " + plain.ACCEPTED),
    "a set": (b"extra: !!set {a, b}\n", "of type set; " + plain.ACCEPTED),
    "no truth": (b"extra: !!bool perhaps\n", "perhaps is of type bool; " + plain.ACCEPTED),
    "an object": (b"extra: !!python/object/apply:os.system [ls]\n", "of type python/object/apply:os.system; " + plain.ACCEPTED),
    "twice in a merged mapping": (b"extra: {<<: {a: 1, a: 2}}\n", 'key "a" stands twice; keep one'),
    "merged twice": (b"extra: {<<: {a: 1}, <<: {b: 2}}\n", 'key "<<" stands twice; keep one'),
    "text merged": (b"extra: {<<: a}\n", "<< takes a mapping or a list of mappings; one of these is required"),
    "a number as a key": (b"1: x\n", 'key "1" is not text; text is required, in quotes where YAML reads it otherwise'),
    "no as a key": (b"no: x\n", 'key "no" is not text; text is required, in quotes where YAML reads it otherwise'),
    "a list as a key": (b"? [a]\n: b\n", "text is required, in quotes where YAML reads it otherwise"),
    "a tab": (b"\textra: 1\n", "a tab stands where YAML takes spaces alone; spaces are required"),
    "a control character": (b"extra: \x07\n", "the character U+0007 may not stand in YAML"),
    "half a character": (b'extra: "\\ud800"\n', "valid YAML is required"),
    "latin-1": (b"extra: \xe9\n", "byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "a carriage return": (b"extra: 1\r\n", "a carriage return ends or breaks the line; end lines with a line feed alone"),
    "an unknown alias": (b"extra: *nothing\n", "found undefined alias; valid YAML is required"),
    "two documents": (b"---\nextra: 1\n", "but found another document; valid YAML is required"),
    "not closed": (b'extra: "a\n', "valid YAML is required"),
}  # fmt: skip


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_a_file_says_it_is_refused_in_one_line_at_once(tmp_path: Path, kind: str, case: str) -> None:
    added, told = HOSTILE[case]
    before = time.process_time()
    (line,) = refused(tmp_path, kind, READERS[kind][1].encode() + added)
    assert time.process_time() - before < ENDLESS_S
    assert line.endswith(told)


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_mapping_and_what_begins_with_a_byte_order_mark_is_refused(tmp_path: Path, kind: str) -> None:
    text = READERS[kind][1]
    for empty in ("", "# nothing\n", "- a\n", "5\n", "null\n"):
        assert refused(tmp_path, kind, empty) == ["1: the file holds no mapping; keys such as `name:` are required"]
    marked = "1: the file starts with a byte order mark; save it as UTF-8 without one"
    assert refused(tmp_path, kind, b"\xef\xbb\xbf" + text.encode()) == [marked]
    assert "a carriage return" in refused(tmp_path, kind, text.replace("\n", "\r\n"))[0]


@pytest.mark.parametrize("kind", READERS)
def test_of_very_many_mistakes_the_first_are_told(tmp_path: Path, kind: str) -> None:
    text = READERS[kind][1] + "".join(f"key{number}: 1\n" for number in range(10_000))
    before = time.process_time()
    *told, rest = refused(tmp_path, kind, text)
    assert time.process_time() - before < ENDLESS_S
    assert len(told) == 100
    assert rest.endswith("there are further mistakes")


def test_lines_of_a_file_that_was_named_by_mistake_are_not_quoted(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, "positions", "root:*:20228:0:99999:7::: x\n: secret\n")
    assert "root" not in told
    missing, told = refused(tmp_path, "positions", '"root:*:20228:0:99999:7:::": {}\n')
    assert missing == "1: positions: is required"
    assert told == "1: (no plain word): unknown key; known: positions"


def test_what_is_merged_may_be_changed_and_keeps_its_line(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 5}\nd:\n  <<: *b\n  w: 6\n")
    read = read_yaml(path)
    assert read.data == yaml.safe_load(path.read_text())
    assert read.data["c"] == {"y": 2, "z": 4, "x": 5}
    assert [read.line(keys) for keys in (("c", "x"), ("c", "y"), ("c", "z"), ("d", "z"), ("d", "w"), ("d", "v"))] == [
        3,
        1,
        2,
        2,
        6,
        4,
    ]


def test_a_mistake_in_what_is_merged_is_told_once_where_it_stands(tmp_path: Path) -> None:
    text = READERS["experiment"][1].replace("epochs: 4", "epochz: 4").replace("epochs: 3", "batch: 0")
    assert refused(tmp_path, "experiment", text) == [
        "6: arms.tuned.batch: input should be greater than or equal to 1 (got 0)",
        '7: arms.again.epochz: unknown key; did you mean "epochs"?',
    ]


def test_an_override_changes_one_place_of_what_an_alias_repeats(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(READERS["experiment"][1].replace("{<<: *tuned, epochs: 4}", "*tuned"))
    arms: dict[str, Any] = dict(read_experiment(path, ["arms.again.epochs=9"]).arms)
    assert (arms["tuned"].epochs, arms["again"].epochs) == (3, 9)


@pytest.mark.parametrize("value", ["&a [*a]", "2024-01-01", "{1: 2}", "{a: 1, a: 2}", "[" * 10_000, "0x" + "f" * 5_000, "\x07"])
def test_an_override_is_read_as_strictly_as_a_file(tmp_path: Path, value: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(READERS["experiment"][1])
    with pytest.raises(BadInput) as caught:
        read_experiment(path, [f"name={value}"])
    (line,) = caught.value.lines
    assert line.startswith("--set name=")


def test_text_that_begins_a_tag_and_never_ends_it_is_looked_at_once() -> None:
    before = time.process_time()
    assert markup("<a " + "=" * 1_000_000) is None
    assert time.process_time() - before < ENDLESS_S
    assert markup('<a href="x" />') is not None


# ---- numbers --------------------------------------------------------------------------------------------------------------


def sections(kind: Any, seen: set[Any]) -> Iterator[type[BaseModel]]:
    """A section and all that may stand in it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        yield kind
        for field in kind.model_fields.values():
            yield from sections(field.annotation, seen)
    for part in typing.get_args(kind):
        yield from sections(part, seen)


def holds(kind: Any, *numbers: type) -> bool:
    if typing.get_origin(kind) in {typing.Union, types.UnionType, typing.Annotated, tuple, dict}:
        return any(holds(part, *numbers) for part in typing.get_args(kind))
    return kind in numbers


NUMBERS = [
    pytest.param(field.annotation, field, id=f"{section.__name__}.{name}")
    for section in sections(tuple[SCHEMA, Request, catalog._File], set())
    for name, field in section.model_fields.items()
    if holds(field.annotation, int, float)
]


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
def test_a_number_is_neither_a_truth_nor_text_nor_endless(kind: Any, field: Any) -> None:
    one = create_model("One", __base__=Section, value=(kind, field))
    endless = [] if holds(kind, float) else [10**30]
    for bad in (True, False, "1", "1e-4", float("nan"), float("inf"), float("-inf"), -1, *endless):
        for given in (bad, [bad], {"a": bad}):
            with pytest.raises(ValidationError):
                one(value=given)


def test_numbers_are_read_as_editors_read_them(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: [1e-4, 1.0e-4, 1E4, -2e+3, 5e0]\nb: [e5, 1e, 1e5x, 1.2.3]\n")
    assert read_yaml(path).data == {"a": [1e-4, 1e-4, 1e4, -2e3, 5.0], "b": ["e5", "1e", "1e5x", "1.2.3"]}


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("arms.tuned.learning_rate=true", "input should be a valid number or a mapping (got true)"),
        ("arms.tuned.epochs=true", "input should be a valid integer (got true)"),
        ("arms.tuned.weight_decay=.nan", "input should be a finite number (got nan)"),
        ("arms.tuned.max_grad_norm=.inf", "input should be a finite number (got inf)"),
        ("suites.human_eval.temperature=1e999", "input should be a finite number (got inf)"),
        ("seeds=[4294967296]", "input should be less than or equal to 4294967295 (got 4294967296)"),
        ("seeds=[-1]", "input should be greater than or equal to 0 (got -1)"),
        ("suites.human_eval.completions=10000000000", "input should be less than or equal to 1000000000 (got 10000000000)"),
        ("limits.stage_timeout_s=1e7", "input should be less than or equal to 2000000 (got 10000000.0)"),
    ],
)
def test_values_that_no_library_takes_are_refused_by_name(tmp_path: Path, assignment: str, told: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(READERS["experiment"][1])
    with pytest.raises(BadInput) as caught:
        read_experiment(path, [assignment])
    (line,) = caught.value.lines
    assert line.startswith(f"--set {assignment.partition('=')[0]}")
    assert line.endswith(told)


def test_the_largest_seed_is_one_that_libraries_take(tmp_path: Path) -> None:
    from transformers import set_seed

    path = tmp_path / "file.yaml"
    path.write_text(READERS["experiment"][1])
    (seed,) = read_experiment(path, ["seeds=[4294967295]"]).seeds
    set_seed(seed)
    with pytest.raises(ValueError, match=r"Seed must be between 0 and 2\*\*32 - 1"):
        set_seed(seed + 1)


# ---- what reading costs ---------------------------------------------------------------------------------------------------


def test_whoever_plans_a_sweep_imports_nothing_heavy() -> None:
    heavy = ["numpy", "torch", "scipy", "pandas", "transformers", "matplotlib"]
    script = f"import sys, flows.dag; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
