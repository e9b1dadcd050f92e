"""`palms schema`: the JSON Schema of experiment files, for editors."""

from __future__ import annotations

import json
import sys

from flows.experiment import json_schema


def schema() -> None:
    """The JSON Schema of experiment files, for editors."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
