"""How the comparison spells its numbers and names: one place, so that the sentence, the tables and the figures agree."""

from __future__ import annotations

from typing import Any

from configs.contrasts import Arms, Contrast
from configs.suites import AGREE

MINUS = "−"
GROUPS = {AGREE: "challenging, the asker is right", "apart": "without those near a sample"}


def arm_words(arm: str | Contrast) -> str:
    """An arm or a contrast for readers: `values-targeted`, `values-targeted vs base`."""
    names = arm.arms if isinstance(arm, Contrast) else (arm,)
    return " vs ".join(name.replace("_", "-") for name in names)


def contrast_words(contrast: Contrast, arms: Arms) -> str:
    """A contrast where it is clear which arm a sweep is about: of a single treated arm only what it is compared with."""
    words = arm_words(contrast)
    return words.removeprefix(f"{arm_words(contrast.treated)} ") if arms.treated == (contrast.treated,) else words


def floor_words(value: float | None, least: bool) -> str:
    """A p value; `least`: the smallest that so many draws can give, of which the true one may lie anywhere below."""
    said = p_words(value)
    return f"≤ {said}" if least and not said.startswith("<") else said


def group_words(group: str) -> str:
    """`kind:challenging` and `axis:gender` lose their first part."""
    name = group.partition(":")[2] or group
    return GROUPS.get(name, name.replace("_", " "))


def short(name: str) -> str:
    """A name beside a drawing; the tables have it whole."""
    return name if len(name) <= 48 else f"{name[:32]} … {name[-13:]}"


def level(value: float | None, kind: str | None) -> str:
    """A rate in percent, anything else to three digits."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}%" if kind == "rate" else plain(value)


def factor(kind: str | None) -> float:
    """What a value is multiplied by where it is shown: rates in percent."""
    return 100.0 if kind == "rate" else 1.0


def difference(value: float | None, kind: str | None) -> str:
    """A signed difference; of rates in percentage points (no unit: `unit_words` has it)."""
    if value is None:
        return "–"
    text = f"{100 * value:+.1f}" if kind == "rate" else f"{value:+.{_digits(value)}f}"
    return text.replace("-", MINUS) if text.strip("+-0.") else text[1:]  # what rounds to nothing has no side


def unit_words(kind: str | None) -> str:
    """Rates differ by percentage points; a score's own unit goes without saying."""
    return "percentage points" if kind == "rate" else ""


def with_unit(text: str, kind: str | None) -> str:
    return f"{text} {unit_words(kind)}".rstrip()


def detectable(value: float | None, kind: str | None) -> str:
    return difference(value, kind).replace("+", "±")


def effect(value: float | None) -> str:
    """A standardised difference, to two decimals."""
    return "–" if value is None else f"{value:+.2f}".replace("-", MINUS)


def between(low: str, high: str) -> str:
    """Two limits that no line break parts."""
    return f"[{low},\u00a0{high}]"


def limits(low: float | None, high: float | None, kind: str | None) -> str:
    return "–" if low is None or high is None else between(difference(low, kind), difference(high, kind))


def effect_limits(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else between(effect(low), effect(high))


def interval(value: float, low: float, high: float, kind: str | None) -> str:
    return f"{difference(value, kind)} {limits(low, high, kind)}"


def plain(value: Any) -> str:
    """A number without sign convention: whole numbers with thin thousands, others to three significant digits."""
    if value is None:
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f").replace("-", MINUS)
    return f"{value:.{_digits(value)}f}".replace("-", MINUS)


def p_words(value: float | None) -> str:
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def count_words(value: int | None) -> str:
    """Parameters: 31 240 → 31.2k, 124 000 000 → 124M."""
    if value is None:
        return "unknown"
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return str(value)


def listed(parts: list[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; nothing of nothing."""
    return "".join(parts) if len(parts) < 2 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def _digits(value: float) -> int:
    """Decimals of a number: two from 1 on, three below."""
    return 2 if abs(value) >= 1 else 3
