"""What has become of a key on object storage, as records that are numbered, made once and never changed: claims, outputs, damage.

`<stage>/<key>/1.json`, `2.json` …: whoever makes the next number has the word, and of two that try one fails. So a claim is a lease with a fencing
token, its number: a holder whose lease ran out cannot commit, for the number after its own is taken. That it lives it shows by writing
`<n>.beat` again and again; how long it has been silent each who waits measures with a clock of its own, so that no two clocks need agree. Holds for
any file system that refuses to make an object twice; knows nothing of files.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from flows.engine.ownership import Owner
from flows.engine.stores.bucket import Bucket, Refused, Unreachable
from tasks.contract import canonical

log = logging.getLogger("palms")

AT_ONCE = 4  # records asked for at once: an output that was made at the first try has two
BEAT_S = 5.0
LEASE_S = 30.0  # of silence, and a claim is another's to take
LOOK_S = 1.0
FREE = b"free"


class LeaseLost(ConnectionError):
    """Another holder took the key over while this one worked: trying again finds what that one makes."""


@dataclass(frozen=True)
class Record:
    number: int
    document: Mapping[
        str, Any
    ]  # {"owner": …} of a claim, {"manifest": …, "files": claim's number} of an output, {"damaged": why}

    @property
    def is_claim(self) -> bool:
        return "owner" in self.document

    @property
    def is_output(self) -> bool:
        return "manifest" in self.document


class Records:
    """Of all keys of a bucket. Thread-safe."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, list[Record]] = {}  # they never change: what was read once is not asked for again

    def of(self, place: str) -> list[Record]:
        """All of a key, `stage/key`, as of now."""
        return self.of_all([place])[place]

    def of_all(self, places: Sequence[str]) -> dict[str, list[Record]]:
        left = list(dict.fromkeys(places))
        while left:
            asked = [(place, len(self.known(place)) + more) for place in left for more in range(1, AT_ONCE + 1)]
            contents = self._bucket.read([_name(place, number) for place, number in asked])
            answers = dict(zip(asked, contents, strict=True))
            went_on = []
            for place in left:
                known = list(self.known(place))
                before = len(known)
                while (content := answers.get((place, len(known) + 1))) is not None:
                    known.append(Record(len(known) + 1, json.loads(content)))
                self._known[place] = known
                if len(known) == before + AT_ONCE:
                    went_on.append(place)
            left = went_on
        return {place: self._known[place] for place in places}

    def known(self, place: str) -> list[Record]:
        """Those of a key that were read or made here; the bucket is not asked."""
        return self._known.get(place, [])

    def add(self, place: str, number: int, document: Mapping[str, Any]) -> Record | None:
        """The record of this number, if it is this one: None where there is another."""
        written = {**document, "nonce": uuid4().hex}
        if not self._bucket.create(_name(place, number), canonical(written).encode()):
            return None
        made, known = Record(number, json.loads(canonical(written))), self.known(place)
        if len(known) == number - 1:
            self._known[place] = [*known, made]
        return made

    # ---- claims ----------------------------------------------------------------------------------------------------

    @contextmanager
    def claimed(self, place: str, *, wait: bool) -> Iterator[int | None]:
        """Hold a key for the time of the block; yields the claim's number, or None where another holds it and is not waited for."""
        number = self._claim(place, wait)
        if number is None:
            yield None
            return
        ended = threading.Event()
        beats = threading.Thread(target=self._beat, args=(place, number, ended), name=f"palms-lease-{place}", daemon=True)
        beats.start()
        try:
            yield number
        finally:
            ended.set()
            beats.join()
            if self.known(place)[-1].number == number:  # or what came of it is told
                self._free(place, number)

    def _claim(self, place: str, wait: bool) -> int | None:
        silence: tuple[tuple[int, bytes | None], float] | None = None  # what was heard last, and since when nothing else
        while True:
            known = self.of(place)
            last = known[-1] if known else Record(0, {})
            beat = self._bucket.read([_beat(place, last.number)])[0] if last.is_claim else FREE
            now = time.monotonic()
            if silence is None or silence[0] != (last.number, beat):
                silence = (last.number, beat), now
            if beat == FREE or Owner(**last.document["owner"]).alive is False or now - silence[1] >= LEASE_S:
                if self.add(place, last.number + 1, {"owner": asdict(Owner.me())}):
                    return last.number + 1
            elif not wait:
                return None
            else:
                time.sleep(LOOK_S)

    def _beat(self, place: str, number: int, ended: threading.Event) -> None:
        beats = 0
        while not ended.wait(BEAT_S if beats else 0):
            beats += 1
            try:
                self._bucket.write(_beat(place, number), str(beats).encode())
            except (Unreachable, Refused) as error:  # who holds the key by then is decided as it commits
                log.warning("%s: its lease was not renewed: %s", place, error)

    def _free(self, place: str, number: int) -> None:
        try:
            self._bucket.write(_beat(place, number), FREE)
        except (Unreachable, Refused) as error:  # it runs out by itself
            log.warning("%s: its lease was not given back: %s", place, error)


def _name(place: str, number: int) -> str:
    return f"{place}/{number}.json"


def _beat(place: str, number: int) -> str:
    return f"{place}/{number}.beat"
