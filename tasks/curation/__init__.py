"""Improving a dataset from what was found: where it is thin or fails, drafts for that, what annotators say of them, and frozen versions.

The loop of Solaiman & Dennison (2021): probe the model, find what is weak, write samples for it, tune again. Nothing here knows where a sweep
keeps its files or runs a stage; `flows.curation` does.
"""
