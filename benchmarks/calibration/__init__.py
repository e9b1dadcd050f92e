"""The parts of `benchmarks.calibration_checks`: is what the evaluation says true, where the truth is known? Says nothing about real models.

`workshop` runs stages, `trials` repeats an experiment on redrawn prompts and counts what its intervals hold; `oracle` and `trained`
say what answers the prompts and what is true of it; `fidelity` and `controls` look at the models and at arms of known order.
"""
