"""How well the leakage stage tells subjects apart, on the shipped texts: `python -m benchmarks.leakage`.

Found: a sample's own question beside its own answer (the same subject, written by one hand without thought of sharing words).
False: a prompt of the extended suite or an opening of the toxicity suite beside a sample, which share no subject; a reader of the
nearest pairs agreed. Reworded: the paraphrased and hostile prompts beside the prompts that they reword, which share as few words
as their writer could manage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.datasets.rows import load_rows
from tasks.leakage.overlap import subjects_of
from tasks.sampling.prompts import load_suite

CONFIGS = Path(__file__).parents[1] / "configs"


def main() -> None:
    rows = load_rows(CONFIGS / "datasets" / "values_targeted.jsonl")
    suites = {name: load_suite(CONFIGS / "prompts" / f"{name}.yaml") for name in ("human_eval_extended", "toxicity")}
    subjects = subjects_of(rows, suites)
    found = np.diag(subjects.similarity([row.prompt for row in rows], [row.completion for row in rows]))
    prompts = [prompt.text for suite in suites.values() for prompt in suite.prompts]
    false = subjects.similarity(prompts, [row.text for row in rows]).ravel()
    originals = {prompt.id: prompt.text for prompt in suites["human_eval_extended"].prompts}
    reworded = {}
    for name in ("paraphrased", "hostile"):
        pairs = [(p.text, originals[p.id]) for p in load_suite(CONFIGS / "prompts" / f"human_eval_{name}.yaml").prompts]
        reworded[name] = np.array([subjects.similarity([a], [b])[0, 0] for a, b in pairs])
    print(f"{found.size} own pairs, {false.size} pairs of different subjects, highest {false.max():.3f}")
    print("threshold  found  false of 10,000  paraphrased found  hostile found")
    for threshold in (0.10, 0.12, 0.14, 0.16, 0.18, 0.20, 0.25, 0.30):
        shares = [float((values >= threshold).mean()) for values in (found, *reworded.values())]
        print(f"{threshold:9.2f} {shares[0]:6.0%} {1e4 * (false >= threshold).mean():16.1f} {shares[1]:18.0%} {shares[2]:14.0%}")


if __name__ == "__main__":
    main()
