"""What the fork server makes ready beyond imports, so that no stage process has to: imported by it alone.

transformers compiles 900 patterns of weights' old names when the first model of a process is loaded, 50 ms.
"""

from __future__ import annotations

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

get_checkpoint_conversion_mapping("")
