from __future__ import annotations

import matplotlib.image
import pytest

from tests.project import Project


def test_a_sheet_shows_a_recipe_on_the_packed_images(project: Project) -> None:
    project.prepare()
    out = project.ok("sheet", "augmentation=dino", "images=3", "views=2", "local_views=1", "strengths=[0.5,1.0]")
    assert "written: report/views-digits-dino.png" in out
    assert "next: python -m src.train augmentation=dino" in out
    picture = matplotlib.image.imread(project.folder / "report/views-digits-dino.png")
    height, width = picture.shape[:2]
    assert width / height == pytest.approx((0.8 * 7 + 0.2) / (0.8 * 3 + 0.4), rel=0.02)  # image, 2 x 2 views, 2 x 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("views=0", "views must be >= 1, got 0"),
        ("strengths=[-1]", "strengths.0 must be >= 0, got -1"),
        ("strengths=[]", "strengths must be a list"),
        ("augmentation=byoll", "augmentation=byoll doesn't exist (did you mean byol?)"),
        ("augmentation.blurr.probability=1", "augmentation.blurr.probability isn't a key or group of sheet"),
    ],
)
def test_a_bad_sheet_is_refused(project: Project, override: str, message: str) -> None:
    project.prepare()
    assert message in project.refused("sheet", override)
    assert not (project.folder / "report").exists()


def test_a_sheet_without_packed_data_says_what_to_run(project: Project) -> None:
    assert "run python -m src.prepare data=digits" in project.refused("sheet")
