"""From an arm's answers, and how likely they are to it and to base, to the divergence of each prompt.

Knows which tokens an answer is, and what becomes of its log-likelihoods. Leaves these to `model_registry.likelihood`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_registry.likelihood import Asked
from model_registry.tokenization import Tokenization, Turn
from tasks.evaluations.divergence.stage import KL, PER_TOKEN
from tasks.levels import PromptRow, place
from tasks.sampling.completions import Completion, by_prompt

ENDED = {"stop": True, "length": False}  # finish → whether the model ended it


@dataclass(frozen=True)
class Answer:
    """A completion and its tokens behind its prompt's, with its end where the model ended it.

    respelt: the tokens are others than were drawn, as their number tells: a model may spell a text otherwise than the tokenizer does.
    """

    completion: Completion
    asked: Asked
    respelt: bool

    @property
    def tokens(self) -> int:
        return len(self.asked[1])


@dataclass(frozen=True)
class Weighed:
    """How likely an answer is to the arm that gave it, and to base: ln p, in nats."""

    answer: Answer
    arm_nats: float
    base_nats: float

    @property
    def log_ratio(self) -> float:
        return self.arm_nats - self.base_nats


def read(completions: Sequence[Completion], suite: str, words: Tokenization, turn: Turn) -> list[Answer]:
    """The tokens of each completion behind those of its prompt, cut where they would not fit into the context.

    Raises:
        ValueError: a completion of which it is not known what ended it, or a prompt that the model cannot read in the template.
    """
    answers = []
    for prompt_id, members in by_prompt(completions).items():
        try:
            before = words.asked(turn, members[0].prompt)
        except ValueError as error:
            raise ValueError(f"prompt {prompt_id} of suite {suite}: {error}") from None
        for row in members:
            if row.finish not in ENDED:
                raise ValueError(
                    f'completion {row.repeat} of prompt {prompt_id}: finish is "{row.finish}"; one of {", ".join(ENDED)} is required'
                )
            drawn = words.answered(turn, row.prompt, row.text)
            whole = (*drawn, turn.end) if ENDED[row.finish] else drawn
            answers.append(Answer(row, (before, whole[: words.context - len(before)]), len(drawn) != row.tokens))
    return answers


def prompt_rows(held: Sequence[Weighed]) -> list[PromptRow]:
    """Two rows a prompt, over its n answers.

    kl            mean of ln p_arm − ln p_base, in nats an answer: unbiased of the divergence at that prompt, and below 0 at times
    kl_per_token  the sum of the same over the sum of their tokens, ends counted; nats a token. 0 where answers have no token to read
    """
    at = {(one.answer.completion.prompt_id, one.answer.completion.repeat): one for one in held}
    rows = []
    for prompt_id, members in by_prompt([one.answer.completion for one in held]).items():
        its, own = place(members[0]), [at[prompt_id, row.repeat] for row in members]
        total, tokens = sum(one.log_ratio for one in own), sum(one.answer.tokens for one in own)
        rows += [
            PromptRow(metric=KL, kind="score", value=total / len(own), n=len(own), **its),
            PromptRow(metric=PER_TOKEN, kind="score", value=total / max(tokens, 1), n=len(own), **its),
        ]
    return rows
