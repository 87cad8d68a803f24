"""Checks of how criteria are measured, before the first trial."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch

from src.data.pack import Manifest
from src.evaluation.criterion import Criterion, Protocol
from src.evaluation.embeddings import Embeddings
from src.evaluation.snapshots import score
from src.runtime import check
from src.runtime.build import build
from src.runtime.rng import generator
from src.trial.config import Space


def check_protocol(protocol: Protocol, manifest: Manifest) -> None:
    """Raise ValueError unless the evaluation's settings fit the data."""
    check.number("evaluation.images", protocol.images, at_least=2, at_most=manifest.splits.pretrain.count)
    build("augmentation", protocol.reference)


def check_ordered(criterion: Criterion) -> None:
    """Raise ValueError unless a criterion says by itself which of two trials is the better one."""
    if criterion.worst is None:
        why = "is relative to a pool of trials" if criterion.combines else "has no better direction"
        raise ValueError(
            f"criterion={criterion.name} {why} and can't say of one trial how good it is: "
            "choose another, and use it in selection"
        )


def check_guide(criterion: Criterion, protocol: Protocol, dimensions: Mapping[Space, int]) -> None:
    """Raise ValueError where a criterion can't guide a sampler: giving no order, or refusing what it would get."""
    check_ordered(criterion)
    if criterion.spaces:
        noise = _noise(protocol, dimensions[criterion.spaces[0]])
        score(build("criterion", criterion.score), getattr(noise, criterion.input))


def warn_of_refused(criteria: list[Criterion], protocol: Protocol, dimensions: Mapping[Space, int]) -> None:
    """Say on stderr, before the first trial, which columns of a rule in conf/criterion/ will have no value, and why."""
    embeddings = {space: _noise(protocol, size) for space, size in dimensions.items()}
    named = {column: rule.name for rule in criteria if rule.combines for column in rule.columns or []}
    for criterion in criteria:
        for space in criterion.spaces:
            column = f"{criterion.name}_{space}"
            if column not in named:
                continue
            try:
                score(build("criterion", criterion.score), getattr(embeddings[space], criterion.input))
            except ValueError as reason:
                print(f"warning: {named[column]} needs {column}, and {reason}", file=sys.stderr)


def _noise(protocol: Protocol, size: int) -> Embeddings:
    """Random embeddings, as many as will be measured."""
    draw, n = generator(0, "check"), protocol.images
    views = torch.empty(n, protocol.views, size).normal_(generator=draw)
    turned = torch.empty(4, n, size).normal_(generator=draw)
    return Embeddings(views[:, 0], views, views, turned, protocol.pairwise_images)
