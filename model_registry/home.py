"""Where a home is: the folder that keeps all that runs leave. What is in it, and where, is `flows.engine.home`'s to say."""

from __future__ import annotations

import os
from pathlib import Path


def home_folder() -> Path:
    """PALMS_HOME, `.palms` here by default."""
    return Path(os.environ.get("PALMS_HOME") or ".palms").expanduser().absolute()
