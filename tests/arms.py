"""The three arms of the method, as an experiment hands them to the comparison."""

from __future__ import annotations

from configs.contrasts import Arms, Contrast

TO_BASE, TO_CONTROL = Contrast("values_targeted", "base"), Contrast("values_targeted", "control")
ARMS = Arms(("base", "values_targeted", "control"), "base", (TO_BASE, TO_CONTROL))
