"""The words that sections are written in: names, texts, numbers, and what a section is.

A number is written as a number: `true`, a number in quotes, NaN and infinity are none. A text is what a reader sees: no blanks alone, no
control characters, no HTML.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from configs.texts import control_character, markup


def _plain(text: str) -> str:
    if problem := control_character(text, "\n\t") or markup(text):
        raise ValueError(problem)
    return text


def _some(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; text is required")
    return text


def _single(text: str) -> str:
    if "\n" in text or "\t" in text or text != text.strip():
        raise ValueError("holds a line feed or a tab, or blanks around it; one line is required")
    return text


def _divides(temperature: float) -> float:
    if 0 < temperature < 1e-6:  # logits divided by less leave the range of a float
        raise ValueError("is 0 but for rounding; 0, or at least 0.000001, is accepted")
    return temperature


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("is blank; a value is required, or no such key")
    return value


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
SetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
SizeName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=40)]
Prose = Annotated[str, AfterValidator(_plain)]  # may be empty
Text = Annotated[Prose, AfterValidator(_some)]
Line = Annotated[Text, AfterValidator(_single)]
Flag = Annotated[bool, Field(strict=True)]
Natural = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]  # what NumPy takes
Share = Annotated[float, Field(strict=True, ge=0.0, le=1.0), AfterValidator(abs)]
Rate = Annotated[float, Field(strict=True, gt=0.0, le=1.0)]
NotNegative = Annotated[float, Field(strict=True, ge=0.0), AfterValidator(abs)]  # −0.0 is 0.0, and no other key
Positive = Annotated[float, Field(strict=True, gt=0.0)]
Threads = Annotated[int, Field(strict=True, ge=1, le=1024)]  # OpenMP starts as many as it is told
Shards = Annotated[int, Field(strict=True, ge=1, le=1024)]
Temperature = Annotated[NotNegative, Field(le=1000.0), AfterValidator(_divides)]
NotNull = BeforeValidator(_given)  # a key that may be left out, but not left blank


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
