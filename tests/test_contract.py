"""Keys: what they depend on, and what they must not depend on."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.contract import (
    Axes,
    Metric,
    Node,
    Numerics,
    digest_of,
    identity,
    read_jsonl,
    replace_file,
    write_jsonl,
    write_metrics,
    write_rows,
)
from tests import toy

SCRIPT = """
from tests import toy
from tasks.contract import digest_of, identity
print(digest_of(identity(toy.node("a", value=0.1, note="é"), {"b": "2", "a": "1"})))
"""


def key(node: Node, **digests: str) -> str:
    return digest_of(identity(node, digests))


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_a_key_is_the_same_under_every_hash_seed(seed: str) -> None:
    fresh = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
    )
    assert fresh.stdout.strip() == key(toy.node("a", value=0.1, note="é"), a="1", b="2")


def test_a_key_depends_on_settings_inputs_version_and_numerics_and_on_nothing_else() -> None:
    node = toy.node("a")
    base = key(node, x="1")
    assert key(toy.node("a", value=2.0), x="1") != base
    assert key(node, x="2") != base
    assert key(replace(node, stage=replace(node.stage, version="2")), x="1") != base
    assert key(replace(node, numerics=Numerics(threads=2)), x="1") != key(replace(node, numerics=Numerics(threads=1)), x="1")
    assert key(replace(node, axes=Axes(name="b")), x="1") == base
    assert key(replace(node, resources=toy.Resources(threads=7)), x="1") == base


def test_library_versions_are_keyed_to_the_minor_release() -> None:
    torch = replace(toy.STAGE, libraries=("torch",))
    document = identity(replace(toy.node("a"), stage=torch), {})
    assert document["libraries"]["torch"].count(".") == 1


def test_a_metric_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metric toxicity of group health is nan; a finite number is required"):
        write_metrics(tmp_path, [Metric("toxicity", float("nan"), n=3, group="health")])


def test_rows_survive_every_line_separator_that_unicode_knows(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\x85c\nd\u2029e"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows


def test_a_table_survives_returns_quotes_and_commas_and_keeps_its_header_when_empty(tmp_path: Path) -> None:
    rows = [{"text": 'a\rb\n"c", d\r\n', "value": 0.1 + 0.2}]
    write_rows(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as stream:
        read = list(csv.DictReader(stream))
    assert [(row["text"], float(row["value"])) for row in read] == [(rows[0]["text"], rows[0]["value"])]
    write_rows(tmp_path / "none.csv", [], ["a", "b"])
    assert (tmp_path / "none.csv").read_text() == "a,b\n"


def test_a_small_file_written_by_many_threads_is_always_whole(tmp_path: Path) -> None:
    """They share a process, and so a pid: a temporary name made of that alone was replaced under another's feet."""
    path, texts = tmp_path / "state.json", [str(number) * 2000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(replace_file, path, text) for text in texts * 100]:
            written.result()
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]
