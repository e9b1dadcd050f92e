"""`palms down`: stops what `palms up` started."""

from __future__ import annotations

from flows.commands.words import out
from flows.engine.home import Home
from flows.serving import up as servers


def down() -> None:
    """Stop what `palms up` started; sweeps that the runner has are cancelled, and what they finished is kept."""
    for line in servers.down(Home.named()):
        out.print(line, highlight=False)
