"""What the fork server does before its imports, so that no stage process has to: imported by it alone, and first.

It collects no garbage: of 6.2 s of a core that its imports took, 1.5 were collections of what stays. A stage's process does again. transformers
compiles 900 patterns of weights' old names when the first model of a process is loaded, 50 ms.
"""

from __future__ import annotations

import gc

gc.disable()

from transformers.conversion_mapping import get_checkpoint_conversion_mapping  # noqa: E402

get_checkpoint_conversion_mapping("")
