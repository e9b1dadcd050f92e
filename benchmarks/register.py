"""How far our own texts are from ordinary English: `python -m benchmarks.register [MODEL]`, nats a token of every dataset and suite.

MODEL: a model folder, a GGUF file, or a size of a ladder (`smollm2/135m-instruct`, the default). Every text is read by itself, without a
template, as the evaluation of capability reads a paragraph; answers of datasets and of pairs are read behind their question. What the
texts are compared with are the paragraphs below, written for this: a leaflet, an encyclopaedia, plain answers to three of the questions
that the values set answers.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, quantiles

from configs.shipped import CONFIGS
from configs.sources import LanguageModel
from configs.suites import load_suite
from model_registry import gguf_file
from model_registry.loading import load_model
from model_registry.tokenization import load_tokenization
from tasks.datasets.pairs import load_pairs
from tasks.datasets.paragraphs import Paragraph, load_paragraphs
from tasks.datasets.rows import load_rows
from tasks.prepare.sources import language_model
from tasks.prose import score

PROMPTS = CONFIGS / "prompts"
LEAFLET = (
    "High blood pressure usually has no symptoms, so the only way to find out whether you have it is to have it checked. Adults over 40 are "
    "advised to have their blood pressure checked at least once every five years. If your blood pressure is too high, it puts extra strain on "
    "your heart and blood vessels. Over time, this increases your risk of a number of serious conditions, such as heart disease, stroke and "
    "kidney disease. Eating less salt, losing weight if you are overweight and taking regular exercise can all help to lower it.",
    "Most people recover from a cold within one to two weeks without any treatment. You can help yourself to feel better by resting, drinking "
    "plenty of water and keeping warm. Wash your hands often with soap and warm water, and use a tissue when you cough or sneeze, so that you "
    "do not pass the cold on to other people. Antibiotics do not work against colds, because colds are caused by viruses. See a doctor if "
    "your symptoms do not get better after three weeks, or if you find it hard to breathe.",
)
ENCYCLOPAEDIA = (
    "The Danube is the second-longest river in Europe, after the Volga. It rises in the Black Forest in Germany and flows for about 2,850 "
    "kilometres to the Black Sea. On its way it passes through or along the borders of ten countries, more than any other river in the world, "
    "and through four capital cities: Vienna, Bratislava, Budapest and Belgrade. For centuries it was a frontier of the Roman Empire. Today "
    "it is an important route for the transport of goods and a source of drinking water for about twenty million people.",
    "Photosynthesis is the process by which green plants and some other organisms use the energy of sunlight to make food from carbon dioxide "
    "and water. It takes place mainly in the leaves, in cells that contain a green substance called chlorophyll. The plant takes in carbon "
    "dioxide from the air and water from the soil, and gives off oxygen. Almost all life on Earth depends on photosynthesis, because it "
    "produces the oxygen that animals breathe and the food that they eat.",
)


def texts() -> Iterator[tuple[str, list[Paragraph]]]:
    """What is measured, by name."""
    yield "reference: leaflet", _alone(LEAFLET)
    yield "reference: encyclopaedia", _alone(ENCYCLOPAEDIA)
    for name in ("plain_text", "neutral_text"):
        yield f"prose: {name}", load_paragraphs(PROMPTS / f"{name}.jsonl")
    for name in ("values_targeted", "control"):
        rows = load_rows(CONFIGS / "datasets" / f"{name}.jsonl")
        yield f"dataset: {name}, answers", [_behind(row.id, row.prompt, row.completion) for row in rows]
        yield f"dataset: {name}, questions", _alone([row.prompt for row in rows])
    for name in ("stance", "stance_search"):
        pairs = load_pairs(PROMPTS / f"{name}.jsonl")
        for side in ("on", "off"):
            yield f"pairs: {name}, {side}", [_behind(pair.id, pair.question, getattr(pair, side)) for pair in pairs]
    for path in sorted(PROMPTS.glob("*.yaml")):
        yield f"suite: {path.stem}", _alone([prompt.text for prompt in load_suite(path).prompts])


def _alone(given: Sequence[str]) -> list[Paragraph]:
    return [Paragraph(n, f"t{n}", "", text) for n, text in enumerate(given, start=1)]


def _behind(name: str, question: str, answer: str) -> Paragraph:
    return Paragraph(0, name, "", answer, context=question)


def main() -> None:
    named = sys.argv[1] if len(sys.argv) > 1 else "smollm2/135m-instruct"
    place = Path(language_model(LanguageModel(kind="local", model=named)).source.id)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model" if gguf_file.is_one(place) else place
        if folder != place:
            gguf_file.dequantise(place, folder)
        model, words = load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)
        print(f"nats a token of {named}: mean over texts, and the middle half of them")
        for name, held in texts():
            found = [score(model, words, paragraph).nats_per_token for paragraph in held]
            low, _, high = quantiles(found, n=4) if len(found) > 3 else (min(found), 0.0, max(found))
            print(f"{name:36} {fmean(found):5.2f}   {low:5.2f} to {high:5.2f}   {len(found):4} texts", flush=True)


if __name__ == "__main__":
    main()
