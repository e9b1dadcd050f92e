"""Which words of a text describe: its adjectives and adverbs, by the part-of-speech tagger that textblob's
wheel holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from textblob.en.taggers import PatternTagger

# Penn Treebank tags of adjectives and adverbs with their comparatives and superlatives.
DESCRIPTIVE = frozenset({"JJ", "JJR", "JJS", "RB", "RBR", "RBS"})


def descriptive_words(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The distinct adjectives and adverbs of each text, lower case, in alphabetical order.

    Each distinct text is tagged once. Texts are lower-cased first, since the tagger takes a capital for a
    name.
    """
    tagger = PatternTagger()
    found = {
        text: tuple(sorted({word for word, tag in tagger.tag(text.lower()) if tag in DESCRIPTIVE and word.isalpha()}))
        for text in dict.fromkeys(texts)
    }
    return [found[text] for text in texts]
