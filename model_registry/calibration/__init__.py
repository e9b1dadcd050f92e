"""The calibration ladder: small language models with planted bias, whose rates can be computed exactly.

`grammar` holds the planted truth, `tokenizer` and `pretrain` make models from it, `scorer` makes a toxicity scorer, `exact`
computes a model's true rates, `data` writes the prompt and dataset files. None of it says anything about real models.
"""
