"""The random numbers of sampling: one stream a completion, so that a text depends on no other text.

A completion's numbers are a function of (seed, prompt id, repeat) alone: not of the batch it was sampled in, its place there, what
was sampled before it, or how often the work was taken up again. Arms that are sampled with one seed share their numbers prompt by
prompt, which takes noise out of the paired differences between them.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray


def uniforms(seed: int, prompt_id: str, repeat: int, count: int) -> NDArray[np.float64]:
    """The first `count` numbers, in [0, 1), of one completion's stream; number j decides the j-th generated token.

    Philox (Salmon et al. 2011) keyed by 128 bits of a sha256. The 53-bit floats are made here from raw output, which numpy
    promises never to change, as it does not promise for its distributions.
    """
    name = json.dumps([seed, prompt_id, repeat]).encode()
    key = int.from_bytes(hashlib.sha256(name).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
