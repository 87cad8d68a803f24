"""What a criterion is and how criteria are measured, as conf/ states it and every study keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from src.runtime.records import Config, Name, Number, closed
from src.runtime.settings import Component, Natural, Several, Share, stated
from src.trial.config import Space

Names = Annotated[list[str] | None, stated("a list like [1,2]")]


@closed
@dataclass(frozen=True)
class Criterion:
    """A file of conf/criterion/."""

    name: Name
    score: Config  # the function of src/criteria/
    input: str  # what it is given: an attribute of Embeddings, losses, heldout_losses, or columns of a pool
    spaces: list[Space]  # h: representation, z: projection; the one it was published for first
    direction: Literal["higher", "lower", "none"]
    invariances: list[str]
    worst: Number | None  # what a sampler is told of a collapsed trial; None: it can't guide one
    version: int
    within: Names = None  # what compared trials must share
    columns: Names = None  # what a rule combines

    @property
    def combines(self) -> bool:
        """Whether it is a rule over a pool's columns, and nothing that is measured of one trial."""
        return self.input == "columns"

    @property
    def filled(self) -> list[str]:
        """The columns that it fills, one for each space: rankme_z, rankme_h."""
        return [f"{self.name}_{space}" for space in self.spaces] or [self.name]

    def space_of(self, column: str) -> Space | None:
        """The space that one of its columns is measured on; None where it is on neither, such as a loss."""
        return dict(zip(self.filled, self.spaces, strict=False)).get(column)


@closed
@dataclass(frozen=True)
class CollapseGate:
    """Below either value a trial counts as collapsed."""

    spread: Share  # of z: feature std over its isotropic value
    rank: Annotated[Number, Field(ge=1)]  # of z: participation ratio


@closed
@dataclass(frozen=True)
class Protocol:
    """How criteria are measured: the same for all trials of a study."""

    images: Several  # of pretrain, and of probe for the held-out loss
    pairwise_images: Several  # of these, for criteria that compare every image with every other
    views: Several  # of each image, under the reference recipe and under the trial's own
    halves: Natural  # random halves of the images: how far a criterion depends on which were drawn
    seed: Natural
    collapse: CollapseGate
    reference: Component  # the recipe of view-based criteria


def filling(criteria: list[Criterion], column: str) -> Criterion:
    """The criterion that fills a column; the study measured it."""
    return next(criterion for criterion in criteria if column in criterion.filled)
