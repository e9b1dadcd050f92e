"""When a schedule fires, as the orchestrator's own scheduler counts it; and expressions that are none."""

from __future__ import annotations

import pytest

from configs.problems import BadInput
from flows.serving.schedule import firing


def test_times_are_meant_in_their_timezone() -> None:
    times = firing("0 2 * * 6", "Europe/Berlin", 4)
    assert [(time.weekday(), time.hour, time.minute) for time in times] == [(5, 2, 0)] * 4
    assert {time.tzname() for time in times} <= {"CET", "CEST"}


@pytest.mark.parametrize(
    ("cron", "timezone", "told"),
    [
        ("61 * * * *", "UTC", "accepted are five fields as cron has them"),
        ("*/5 * * * * *", "UTC", "accepted are five fields as cron has them"),
        ("now", "UTC", "accepted are five fields as cron has them"),
        ("@reboot", "UTC", "accepted are five fields as cron has them"),
        ("0 0 30 2 *", "UTC", "never fires; there is no such day"),
        ("@daily", "Mars/Base", "no such timezone; accepted are names such as Europe/Berlin"),
    ],
)
def test_what_never_fires_is_refused_in_one_line(cron: str, timezone: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as refused:
        firing(cron, timezone, 1)
    assert len(refused.value.lines) == 1
