"""Where a training begins: given weights, kept in the store under their checksum, and layers that stay as they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save
from torch import nn

from src import check, files
from src.optim import layers
from src.weights import check_fit, read_weights, sorted_out

if TYPE_CHECKING:
    from src.methods.method import Method

FOLDER = "weights"  # of the store


def keep_start(start: dict[str, Any], store: Path) -> dict[str, Any]:
    """What of ``start`` is part of a trial's name: given weights' checksum, kept in the store, and frozen layers."""
    check.number("start.frozen", start["frozen"], at_least=0, whole=True)
    if start["weights"] is None:
        return {"weights": None, "frozen": start["frozen"]}
    found = sorted_out(read_weights(Path(start["weights"])), {"encoder": start["encoder_prefix"]}, start["ignore"])
    content = save({name: value.detach().cpu().contiguous() for name, value in sorted(found.items())})
    name = hashlib.blake2b(content, digest_size=16).hexdigest()
    kept = _kept(name, store)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(kept, content)
    return {"weights": name, "frozen": start["frozen"]}


def _kept(name: str, store: Path) -> Path:
    return store / FOLDER / f"{name}.safetensors"


def begin(method: Method, start: dict[str, Any], store: Path) -> None:
    """Give a method's encoder its weights, every entry of them, and freeze its first layers.

    What was copied from the encoder before, a teacher, gets them too.
    """
    if start["weights"] is not None:
        weights = load_file(_kept(start["weights"], store))
        for encoder in method.encoders():
            encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items()}, strict=False)
    freeze(method.encoder, start["frozen"])


def check_start(method: Method, start: dict[str, Any], store: Path) -> None:
    """Raise ValueError where weights don't fit the method's encoder, or more of its layers are frozen than it has."""
    if start["weights"] is not None:
        wanted = {f"encoder.{name}": value for name, value in method.encoder.state_dict().items()}
        check_fit("start.weights", load_file(_kept(start["weights"], store)), wanted)
    count = len(layers(method.encoder))
    if start["frozen"] > count:
        raise ValueError(f"start.frozen must be at most the encoder's {count} layers, got {start['frozen']}")


def freeze(encoder: nn.Module, count: int) -> None:
    """Take the first layers out of training: no gradient, and eval mode for good, so that their norms stay too."""
    for layer in layers(encoder)[:count]:
        for module in layer.requires_grad_(False).eval().modules():
            module.train = _stay.__get__(module)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
