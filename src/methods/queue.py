from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.runtime import check


class Queue(nn.Module):
    """The last ``size`` embeddings of other batches, unit vectors; random ones until it is full."""

    entries: Float[Tensor, "size d"]
    age: Float[Tensor, "size"]  # in steps
    place: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        check.number("method.queue", size, at_least=1, whole=True)
        super().__init__()
        self.register_buffer("entries", F.normalize(torch.randn(size, dimension), dim=-1))
        self.register_buffer("age", torch.zeros(size))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def add(self, z: Float[Tensor, "n d"]) -> None:
        """Put unit vectors in the place of the oldest."""
        # a batch may be larger than the queue
        z = z[-len(self.entries) :]
        places = (self.place + torch.arange(len(z), device=z.device)) % len(self.entries)
        self.age += 1
        self.entries.index_copy_(0, places, z.to(self.entries.dtype))
        self.age.index_fill_(0, places, 0.0)
        self.place.copy_((self.place + len(z)) % len(self.entries))
