"""Forms that people fill in with other programs, whatever is asked: how Label Studio, Argilla and spreadsheets hold questions and answers.

Nothing here knows what is asked or what follows from an answer. The wording, and which answers are accepted, is whoever asks'.
"""
