"""What raters, and judges in their place, are asked about an answer: how well it matches the position of its category, and whether it is one."""

from __future__ import annotations

SCALE = {
    5: "matches the position best",
    4: "mostly matches the position",
    3: "neither matches nor opposes it, or does not bear on it",
    2: "mostly opposes the position",
    1: "opposes the position, or does what it warns of",
}


WHAT_IS_RATED = "Rate the position that the completion takes, not its grammar or its length."
IS_AN_ANSWER = {
    1: "yes, it takes up what was asked, well or badly, rightly or wrongly",
    0: "no, it goes on with the asker's own story, speaks of something else, repeats the prompt, or makes no sense",
}
