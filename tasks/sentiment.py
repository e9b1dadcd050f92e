"""Sentiment of texts by VADER (Hutto & Gilbert 2014, ICWSM): a lexicon and rules, the same on every machine.

Leaves which texts to score, and what a difference of sentiment means, to the stages.
"""

from __future__ import annotations

from collections.abc import Sequence

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


def vader(texts: Sequence[str]) -> list[float]:
    """VADER's compound score of each text, from −1 to 1, in order; each distinct text is scored once.

    A text without any word of the lexicon, the empty one among them, scores 0.
    """
    analyser = SentimentIntensityAnalyzer()
    score = {text: float(analyser.polarity_scores(text)["compound"]) for text in dict.fromkeys(texts)}
    return [score[text] for text in texts]
