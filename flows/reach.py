"""Whether something answers at an address, asked in a few seconds and without any client's retries."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException

from configs.problems import BadInput

LIMIT_S = 3.0
TRIES, BETWEEN_S = 3, 1.0


def unanswered(url: str, limit_s: float = LIMIT_S) -> str:
    """Why nothing answers there, in a few words; empty if something does, be it with a refusal."""
    why = [f"no answer within {limit_s:g} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=limit_s):
                why[0] = ""
        except urllib.error.HTTPError as error:
            why[0] = f"status {error.code}" if error.code >= 500 else ""
        except (OSError, ValueError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            why[0] = str(getattr(cause, "strerror", None) or cause)

    asking = threading.Thread(target=ask, daemon=True)  # apart: looking a name up has no time limit of its own
    asking.start()
    asking.join(limit_s)
    return why[0]


def require_tracker(uri: str) -> None:
    """Before a sweep: MLflow's client would ask a server that is not there for minutes, after the first size has been made.

    Raises:
        BadInput: a tracking server is named and does not answer. Databases are not asked.
    """
    if not uri.startswith("http"):
        return
    for _ in range(TRIES):
        if not (why := unanswered(f"{uri.rstrip('/')}/health")):
            return
        time.sleep(BETWEEN_S)
    raise BadInput(f"tracking.uri: {uri} does not answer ({why}); start it, or leave the key out for a database under PALMS_HOME")
