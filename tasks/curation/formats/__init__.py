"""The forms in which drafts go out to annotators and what they say comes back.

Each writes a folder (`write(drafts, annotators, stated, folder)`, which returns the files) and reads what comes back (`read(path)`, a list of
`tasks.curation.annotations.Annotation`, with the place of each). None tells who or which model wrote a draft, nor what gap it is for: an
annotator is to judge the text.
"""
