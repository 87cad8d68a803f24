"""Random numbers derived from (seed, purpose, step): a resumed run needs no saved generator state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed, different for every (seed, purpose, step)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator for one purpose at one step."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, step))


@contextmanager
def global_generator(seed: int, purpose: str, step: int = 0) -> Iterator[None]:
    """Seed torch's global generator for code that knows no other (initialisation, dropout), then put it back."""
    if torch.cuda.is_initialized():
        # it saves and restores the GPUs' generators too
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(seed, purpose, step))
            yield
        return
    state = torch.get_rng_state()  # fork_rng costs a training step of a small model half a per cent
    torch.default_generator.manual_seed(derived_seed(seed, purpose, step))
    try:
        yield
    finally:
        torch.set_rng_state(state)
