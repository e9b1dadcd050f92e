"""The forms in which completions go out to raters and their ratings come back, a file each.

Each writes a whole project into a folder (`write(project, folder)`, which returns the files for raters) and reads what comes back
(`read(path)`, a list of `tasks.ratings.collected.Given`, with the place of each). None knows arms: the key is no part of a project.
"""
