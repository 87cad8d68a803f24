"""Where a criterion means nothing, whatever value it would have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.augmentation.views import Augmentation
from src.data.pack import Manifest
from src.evaluation.criterion import Criterion

if TYPE_CHECKING:
    from src.methods.method import Method


def why_meaningless(
    criterion: Criterion, column: str, method: Method, augmentation: Augmentation, manifest: Manifest
) -> str:
    """Why a criterion means nothing for a method, its recipe or the data; empty where it means something."""
    if criterion.input in method.meaningless:
        return f"{column}: {method.meaningless[criterion.input]}"
    if criterion.space_of(column) == "z" and not method.has_projector:
        return f"{column}: the method has no projector, so that there is no z"
    if criterion.input != "rotations":
        return ""
    if augmentation.turns:
        fixed = "augmentation.rotate.radians=0 and augmentation.flip.vertical=0"
        return f"{criterion.name} means nothing where training turns its views: set {fixed}"
    if not manifest.oriented:
        return f"{criterion.name} needs images with a way up: set data.oriented=true and prepare them again"
    return ""
