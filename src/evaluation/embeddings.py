"""Embeddings of one snapshot in one space, and what criteria are given of them, each computed once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.augmentation.views import Augmentation
from src.criteria import spectra
from src.runtime.build import build
from src.runtime.rng import generator, global_generator
from src.trial.loop import Normalise, make_views
from src.trial.method import outline

if TYPE_CHECKING:
    from src.data.pack import Manifest
    from src.evaluation.criterion import Protocol
    from src.methods.method import Method
    from src.trial.config import Space, TrialConfig
    from src.trial.identity import Trial

CHUNK = 256
SPACES: tuple[Space, ...] = ("h", "z")
TURNS = 4


class Embeddings:
    """The images as they are (n, d), their views under the reference and the trial's own recipe (n, v, d), and h of
    the images turned by quarters (4, n, d) where that was asked for."""

    def __init__(
        self,
        images: Float[Tensor, "n d"],
        reference: Float[Tensor, "n v d"],
        own: Float[Tensor, "n v d"],
        rotations: Float[Tensor, "4 n d"] | None,
        pairwise: int,
    ) -> None:
        self.images, self.reference, self.own, self.rotations = images, reference, own, rotations
        self.pairwise = pairwise

    @property
    def views(self) -> Float[Tensor, "n v d"]:
        return self.reference

    @property
    def subset(self) -> Float[Tensor, "m d"]:
        """What pairwise criteria are given."""
        return self.images[: self.pairwise]

    @cached_property
    def singular_values(self) -> Float[Tensor, "k"]:
        return spectra.singular_values(self.images)

    @cached_property
    def eigenvalues(self) -> Float[Tensor, "d"]:
        return spectra.eigenvalues(self.images)

    def half(self, index: Tensor) -> Embeddings:
        """The embeddings of some of the images, to measure how much depends on which images were drawn."""
        rotations = None if self.rotations is None else self.rotations[:, index]
        return Embeddings(self.images[index], self.reference[index], self.own[index], rotations, self.pairwise)


@torch.no_grad()
def embed(
    method: Method,
    images: UInt8[Tensor, "n c h w"],
    trial: Trial,
    manifest: Manifest,
    protocol: Protocol,
    *,
    turned: bool,
) -> dict[Space, Embeddings]:
    """Representations h and projections z of the images and their views; the method must be in eval mode."""
    if method.training:
        raise RuntimeError("embeddings are taken in eval mode")
    normalise = Normalise(manifest.mean, manifest.std, str(images.device))
    recipes: dict[str, Augmentation] = {
        "reference": build("augmentation", protocol.reference),
        "own": build("augmentation", trial.config.augmentation),
    }
    parts: dict[Space, dict[str, list[Tensor]]] = {space: {} for space in SPACES}

    def keep(name: str, x: Tensor, views: int) -> None:
        h = method.encoder(normalise(x).contiguous(memory_format=torch.channels_last))
        embedded: dict[Space, Tensor] = {"h": h, "z": method.projector(h)}
        for space, e in embedded.items():
            # (v n, d), all first views first -> (n, v, d)
            parts[space].setdefault(name, []).append(e.cpu().unflatten(0, (views, -1)).transpose(0, 1))

    for chunk, batch in enumerate(images.split(CHUNK)):
        plain = batch.float().div_(255)
        # a copy: normalising is in place, and the rotations below need the plain images
        keep("images", plain.clone(), 1)
        for name, recipe in recipes.items():
            # from the chunk alone: every trial is measured under the same draws
            draw = generator(protocol.seed, f"evaluate {name}", chunk)
            keep(name, recipe(batch, draw, views=protocol.views), protocol.views)
        if turned:
            keep("rotations", torch.cat([plain.rot90(turn, (2, 3)) for turn in range(TURNS)]), TURNS)
    embeddings: dict[Space, Embeddings] = {}
    for space, kept in parts.items():
        e = {name: torch.cat(chunks) for name, chunks in kept.items()}
        rotations = e["rotations"].transpose(0, 1) if turned else None
        embeddings[space] = Embeddings(e["images"][:, 0], e["reference"], e["own"], rotations, protocol.pairwise_images)
    return embeddings


@torch.no_grad()
def held_out_losses(
    method: Method, images: UInt8[Tensor, "n c h w"], trial: Trial, manifest: Manifest, protocol: Protocol
) -> Float[Tensor, "batches"]:
    """The trial's own loss, in eval mode, on whole batches of images that it wasn't trained on."""
    if method.training:
        raise RuntimeError("the held-out loss is taken in eval mode")
    size = min(trial.config.batch_size, len(images))
    normalise = Normalise(manifest.mean, manifest.std, str(images.device))
    recipe: Augmentation = build("augmentation", trial.config.augmentation)
    losses = []
    for number in range(len(images) // size):
        batch = images[number * size : (number + 1) * size]
        inputs = make_views(method, recipe, normalise, batch, generator(protocol.seed, "held out", number))
        # for methods whose loss draws masks, directions or tiles
        with global_generator(protocol.seed, "held out", number):
            losses.append(method(*inputs).cpu())
    return torch.stack(losses)


@torch.no_grad()
def encode(encoder: nn.Module, images: UInt8[Tensor, "n c h w"], manifest: Manifest) -> Float[Tensor, "n d"]:
    """h of the images as they are; the encoder must be in eval mode."""
    if encoder.training:
        raise RuntimeError("features are taken in eval mode")
    normalise = Normalise(manifest.mean, manifest.std, str(images.device))
    chunks = [
        encoder(normalise(chunk.float().div_(255)).contiguous(memory_format=torch.channels_last))
        for chunk in images.split(CHUNK)
    ]
    return torch.cat(chunks)


@torch.no_grad()
def views_of(
    method: Method, images: UInt8[Tensor, "n c h w"], manifest: Manifest, protocol: Protocol, views: int
) -> Float[Tensor, "n v d"]:
    """h of views of the images under the study's reference recipe; the method must be in eval mode."""
    recipe: Augmentation = build("augmentation", protocol.reference)
    normalise = Normalise(manifest.mean, manifest.std, str(images.device))
    x = normalise(recipe(images, generator(protocol.seed, "views of labelled images"), views=views))
    h = method.encoder(x.contiguous(memory_format=torch.channels_last))
    return h.unflatten(0, (views, -1)).transpose(0, 1)


def evaluation_flops(config: TrialConfig, manifest: Manifest, protocol: Protocol) -> int:
    """Counted floating-point operations of measuring one snapshot: the images, and their views under both recipes."""
    method = outline(config, manifest.shape)
    # in training mode batch norm refuses a batch of one image
    method.eval()
    image = torch.empty(1, *manifest.shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        method.projector(method.encoder(image))
    return int(counter.get_total_flops()) * protocol.images * (1 + 2 * protocol.views)
