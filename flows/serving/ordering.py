"""In which order the Prefect server looks at events for its notices: as they come (PREFECT_SERVER_EVENTS_CAUSAL_ORDERING names this).

Prefect 3.8.8 keeps an event back, for 15 minutes, until the one that it follows has been seen. For some there never is one: it writes none
when a schedule makes a run, and those seen before a restart are forgotten, with what was kept back. Then a notice came late or never.
A notice looks at one event alone, so that no order matters to it.
"""

from __future__ import annotations

from prefect.server.events.ordering import memory
from prefect.server.events.schemas.events import ReceivedEvent


class CausalOrdering(memory.CausalOrdering):
    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """For none."""
