"""Where a training begins: given weights, kept in the store under their checksum, frozen layers, compiled encoders."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load
from torch import Tensor, nn

from src.trial.optim import layers
from src.trial.state_dicts import check_fit

if TYPE_CHECKING:
    from src.methods.method import Method
    from src.trial.config import Start

FOLDER = "weights"  # of the store


contents: dict[str, bytes] = {}  # of given weights by their checksum, as they are kept


def kept_path(checksum: str, store: Path) -> Path:
    return store / FOLDER / f"{checksum}.safetensors"


def _weights(checksum: str, store: Path) -> dict[str, Tensor]:
    """Raises ValueError where the store's copy is missing or altered."""
    if checksum not in contents:
        path = kept_path(checksum, store)
        content = path.read_bytes() if path.exists() else b""
        if checksum_of(content) != checksum:
            raise ValueError(f"{path} is missing or altered: run the study's python -m src.train again, which keeps it")
        contents[checksum] = content
    return load(contents[checksum])


def checksum_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def begin(method: Method, start: Start, store: Path) -> None:
    """Give a method's encoder, and a teacher's, its weights, every entry of them, and freeze its first layers."""
    if start.weights is not None:
        weights = _weights(start.weights, store)
        for encoder in method.encoders():
            # not strict: counters of batches may be missing; check_start has compared all else entry by entry
            encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items()}, strict=False)
    for encoder in method.encoders():
        freeze(encoder, start.frozen)


def check_start(method: Method, start: Start, store: Path) -> None:
    """Raise ValueError where weights don't fit the method's encoder, or more of its layers are frozen than it has."""
    if start.weights is not None:
        wanted = {f"encoder.{name}": value for name, value in method.encoder.state_dict().items()}
        check_fit("start.weights", _weights(start.weights, store), wanted)
    count = len(layers(method.encoder))
    if start.frozen > count:
        raise ValueError(f"start.frozen must be at most the encoder's {count} layers, got {start.frozen}")


def freeze(encoder: nn.Module, count: int) -> None:
    """Take the first layers out of training: no gradient, and eval mode for good, so that their norms stay too."""
    for layer in layers(encoder)[:count]:
        for module in layer.requires_grad_(False).eval().modules():
            module.train = _stay.__get__(module)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def check_compiler(wanted: bool) -> None:
    """Raise ValueError where torch.compile is wanted and finds no compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # as torch looks for it
    if wanted and not shutil.which(compiler):
        raise ValueError(f"compile must be false where {compiler} isn't installed, got true")


def compile_encoders(method: Method) -> None:
    """Have torch compile the encoders, for their own shapes: what other trials left behind would change the bits."""
    torch.compiler.reset()
    for encoder in method.encoders():
        name = "tokens" if hasattr(encoder, "tokens") else "forward"
        setattr(encoder, name, torch.compile(getattr(encoder, name), dynamic=False))
