"""Randomness without state: every draw is a function of the seed and of what it is for.

No generator lives on between two draws, so the number of workers, prefetching, an evaluation in
between or a restart in the middle of an epoch cannot change what is drawn.
"""

from zlib import crc32

import numpy as np
import torch


def generator(seed: int, purpose: str, *counter: int) -> np.random.Generator:
    """Return the generator of one `purpose` ("order", "clip", …) at up to three counters."""
    if len(counter) > 3:
        raise ValueError(f"at most three counters, got {counter}")
    key = np.array([seed, crc32(purpose.encode())], dtype=np.uint64)
    start = np.array([0, *counter, *[0] * (3 - len(counter))], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=start))


def seed_torch(seed: int, purpose: str, *counter: int) -> None:
    """Seed torch's global generators, for what draws from them: initial weights and dropout."""
    torch.manual_seed(int(generator(seed, purpose, *counter).integers(2**62)))
