"""Human ratings: who rates what, the forms in which it goes out and comes back, and what is accepted of it.

`project` assigns, `formats` write for raters and read what they give, `collected` holds what is accepted. Nothing here knows where a sweep
keeps its files; what ratings measure is the evaluation `human_eval`'s.
"""
