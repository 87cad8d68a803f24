"""Where a training begins: given weights, kept in the store under their checksum, frozen layers, compiled encoders."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from src.runtime import files
from src.trial.config import GivenStart, Start
from src.trial.optim import layers
from src.trial.state_dicts import check_fit, read_weights, sorted_out

if TYPE_CHECKING:
    from src.methods.method import Method

FOLDER = "weights"  # of the store


_read: dict[str, bytes] = {}  # given weights by their checksum, as they will be kept


def read_start(start: GivenStart) -> Start:
    """What of ``start`` is part of a trial's name: given weights' checksum, and frozen layers. Writes nothing.

    Raises ValueError on a bad file, or where there is none for what is said about it.
    """
    if start.weights is None:
        for name, value in (("ignore", start.ignore), ("encoder_prefix", start.encoder_prefix)):
            if value:
                raise ValueError(f"start.{name} is about start.weights, which is null, got {value!r}")
        return Start(weights=None, frozen=start.frozen)
    prefixes = {"encoder": start.encoder_prefix}
    found = sorted_out(read_weights(Path(start.weights)), prefixes, start.ignore)
    content = save({name: value.detach().cpu().clone().contiguous() for name, value in sorted(found.items())})
    checksum = _checksum(content)
    _read[checksum] = content
    return Start(weights=checksum, frozen=start.frozen)


def keep_weights(start: Start, store: Path) -> None:
    """Keep what ``read_start`` has read in the store, where a trial finds it again."""
    if start.weights is None:
        return
    path = _kept(start.weights, store)
    if not path.exists() or files.checksum(path) != start.weights:
        files.write_atomically(path, _read[start.weights])


def _kept(checksum: str, store: Path) -> Path:
    return store / FOLDER / f"{checksum}.safetensors"


def _weights(checksum: str, store: Path) -> dict[str, Tensor]:
    """Raises ValueError where the store's copy is missing or altered."""
    if checksum not in _read:
        path = _kept(checksum, store)
        content = path.read_bytes() if path.exists() else b""
        if _checksum(content) != checksum:
            raise ValueError(f"{path} is missing or altered: run the study's python -m src.train again, which keeps it")
        _read[checksum] = content
    return load(_read[checksum])


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def begin(method: Method, start: Start, store: Path) -> None:
    """Give a method's encoder, and a teacher's, its weights, every entry of them, and freeze its first layers."""
    if start.weights is not None:
        weights = _weights(start.weights, store)
        for encoder in method.encoders():
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
