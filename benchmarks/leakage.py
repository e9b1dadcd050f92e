"""How well the leakage stage tells subjects apart, on the shipped texts: `python -m benchmarks.leakage`.

Found: a sample's own question beside its own answer (the same subject, written by one hand without thought of sharing words), weighed
as a prompt of the suite is. False: a prompt of eight words or more beside a sample of either dataset, which share no subject; a reader
of the nearest pairs agreed. Reworded: the paraphrased and hostile prompts beside the prompts that they reword, which share as few
words as their writer could manage. The threshold was set on these very pairs: no others were held back to test it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from configs.suites import load_suite
from tasks.datasets.rows import load_rows
from tasks.leakage.overlap import LONG, subjects_of

CONFIGS = Path(__file__).parents[1] / "configs"
SUITES = ("human_eval", "human_eval_extended", "human_eval_paraphrased", "human_eval_hostile", "toxicity", "counterfactual")
THRESHOLDS = (0.10, 0.12, 0.14, 0.16, 0.18, 0.20, 0.22, 0.25, 0.30)


def main() -> None:
    print(f"{'':24} {'highest':>16} {'share at or above':>20}")
    print(f"{'':24} {'false':>7} {'pairs':>8}  " + "".join(f"{t:>7.2f}" for t in THRESHOLDS))
    for name in SUITES:
        suite = load_suite(CONFIGS / "prompts" / f"{name}.yaml")
        prompts = [prompt.text for prompt in suite.prompts if len(prompt.text.split()) >= LONG]
        for dataset in ("values_targeted", "control"):
            rows = load_rows(CONFIGS / "datasets" / f"{dataset}.jsonl")
            subjects = subjects_of(rows, suite)
            found = np.diag(subjects.similarity([row.prompt for row in rows], [row.completion for row in rows]))
            false = subjects.similarity(prompts, [row.text for row in rows]).ravel()
            what = f"{name} {dataset}"
            shares = "".join(f"{(found >= t).mean():7.0%}" for t in THRESHOLDS)
            print(f"{what[:40]:40} {false.max():5.3f} {false.size:6}  found {shares}")
            print(f"{'':54}  false " + "".join(f"{(false >= t).sum():7}" for t in THRESHOLDS))
    rows = load_rows(CONFIGS / "datasets" / "values_targeted.jsonl")
    originals = load_suite(CONFIGS / "prompts" / "human_eval.yaml")
    subjects = subjects_of(rows, originals)
    for name in ("paraphrased", "hostile"):
        again = load_suite(CONFIGS / "prompts" / f"human_eval_{name}.yaml").prompts
        alike = np.diag(subjects.similarity([p.text for p in again], [p.text for p in originals.prompts]))
        print(f"{name:54}  found " + "".join(f"{(alike >= t).mean():7.0%}" for t in THRESHOLDS))


if __name__ == "__main__":
    main()
