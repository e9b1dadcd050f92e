"""Scorers of texts: Detoxify's published models and sequence classifiers, prepared into a folder each and opened from there.

`folder` says what a scorer folder is, `published` and `classifier` make and open the two kinds, `window` how long a text each can
read. `model_registry.scorers` is the door to all of it.
"""
