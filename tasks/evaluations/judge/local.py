"""A local instruction-tuned model as the judge: what it would answer, read off its probabilities, without drawing anything.

Knows which tokens the letters are at the place of the answer, and the expected rating. Leaves loading and the chat template to
`model_registry` and the wording to `rubric`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from configs.suites import CHAT
from model_registry.tokenization import Ids, Tokenization, plainly
from tasks.evaluations.judge.judge import Missing, Request, Unjudged, Verdict


class LocalJudge:
    """Judges one completion at a time, so that a rating never depends on its neighbours or on where a killed stage went on.

    Batches would gain nothing where it is slow: 400 tokens through 135M parameters took 1.0 to 1.2 s of one CPU core each, one at a
    time as in fours.

    Raises:
        ValueError: the tokenizer has no chat template.
    """

    def __init__(self, model: Any, words: Tokenization) -> None:
        self._model, self._words, self._turn = model, words, words.turn(CHAT)

    def verdicts(self, requests: Sequence[Request], missing: Missing) -> Iterator[tuple[Request, Verdict]]:
        for request in requests:
            try:
                yield request, self.judge(request)
            except Unjudged as why:
                missing.add(request, why)

    def judge(self, request: Request) -> Verdict:
        """The expected value Σ v·p(v) / Σ p(v) over the letters of the question, and their mass Σ p(v).

        p is the model's distribution of the first token of its answer, under its chat template (thinking switched off where the
        template has such a switch). Rating by expectation after G-Eval (Liu et al. 2023, arXiv 2303.16634), which sums over the
        scores' token probabilities instead of taking the likeliest.

        Raises:
            Unjudged: the text is longer than the model's context (it is never cut).
            ValueError: a letter is no token of its own there; a logit is not finite.
        """
        import torch

        where = f"prompt {request.completion.prompt_id}, repeat {request.completion.repeat}"
        seen, letters = self.answer_tokens(request.message, request.question.letters)
        if len(seen) > self._words.context:
            raise Unjudged(
                f"{where}: {len(seen)} tokens to judge; at most the judge's context of {self._words.context} is accepted"
            )
        with torch.inference_mode():
            ids = torch.tensor([seen], device=self._model.device)
            logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].cpu().double()
        if not bool(torch.isfinite(logits).all()):
            raise ValueError(f"{where}: the judge's logits are not finite; finite ones are required")
        logs = torch.stack([torch.logsumexp(logits[list(letters[letter])], 0) for letter in letters])
        values = torch.tensor(list(request.question.values(request.order).values()), dtype=torch.float64)
        mass = torch.exp(torch.logsumexp(logs, 0) - torch.logsumexp(logits, 0))
        return Verdict(float(torch.softmax(logs, 0) @ values), float(mass))

    def answer_tokens(self, message: str, letters: str) -> tuple[Ids, Mapping[str, Ids]]:
        """The tokens before the answer, and each letter's tokens as the next one: of `A`, and of ` A` where that is one too.

        Found by encoding the text with each letter after it, since a template that ends in a space has it merged with the letter.

        Raises:
            ValueError: neither form makes each letter one token of its own after the same text.
        """
        forms: dict[Ids, list[list[int]]] = {}
        for lead in ("", " "):
            encoded = [self._words.whole(self._turn, message, lead + letter) for letter in letters]
            before, last = {ids[:-1] for ids in encoded}, [ids[-1] for ids in encoded]
            if len(before) == 1 and len(set(last)) == len(letters):
                forms.setdefault(before.pop(), []).append(last)
        if not forms:
            ending = plainly(self._turn.tail)[-20:]
            raise ValueError(f"the judge's tokenizer does not make each of {', '.join(letters)} one token after {ending!r}")
        seen, found = next(iter(forms.items()))
        return seen, {letter: tuple(last[at] for last in found) for at, letter in enumerate(letters)}
