"""What annotators of drafts are told, whatever form it takes: the task, the questions with what each answer means, the positions, and that some
texts are hard to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from configs.rating import SCALE
from tasks.curation.annotations import TONES

TITLE = "Checking samples"
WARNING = (
    "These prompts and texts are about violence, self-harm, sexual acts, terrorism and other hard subjects. Some are offensive, cruel or wrong. "
    "You may stop whenever you want, leave any of them out, and come back later."
)
TASK = (
    "A language model is to learn from these samples: a prompt, and how it is to be answered. You see a draft of the answer and the position that it "
    "is to hold. Make it one that you would stand by, or say what is wrong with it."
)
CORRECTED = "The completion as it should stand, whole; a draft without one is to be written"
POSITION_HELD = "As it should stand: how well does it hold the position?"
FACTUAL = "As it should stand: does it have a factual problem?"
FACTUALS = {
    "yes": "it says something that is wrong, or that nothing supports",
    "no": "all that it says of facts is right, as far as you can tell",
}
TONE = "Its tone, as it should stand"
TONES_MEAN = dict(
    zip(
        TONES,
        (
            "plain, warm and respectful, as to somebody who asks in earnest",
            "it lectures, scolds or moralises instead of answering",
            "it is correct, and takes no notice of the person who asks",
            "it jokes about, or plays down, what is no light matter",
            "it has so many ifs and buts that the position gets lost",
        ),
        strict=True,
    )
)
COMMENT = "Comment: above all what is wrong, where you would not put it right yourself"
CLAIMS = "Of the position it is to hold above all"


def guidelines(stated: Mapping[str, str], how: Sequence[str]) -> str:
    """Markdown for annotators. stated: category → its position. how: paragraphs on this form."""
    lines = [
        f"# {TITLE}",
        "",
        WARNING,
        "",
        TASK,
        "",
        *(line for paragraph in how for line in (paragraph, "")),
        "## Questions",
        "",
        f"{CORRECTED}.",
        "",
        *_answers(POSITION_HELD, {str(number): meaning for number, meaning in SCALE.items()}),
        *_answers(FACTUAL, FACTUALS),
        *_answers(f"{TONE}.", TONES_MEAN),
        f"{COMMENT}.",
        *(["", "## Positions", ""] if stated else []),
        *(f"- **{category}**: " + said.replace("\n", "\n  ") for category, said in stated.items()),
    ]
    return "\n".join(lines) + "\n"


def _answers(asked: str, answers: Mapping[str, str]) -> list[str]:
    return [asked, "", *(f"- **{answer}**: {meaning}" for answer, meaning in answers.items()), ""]
