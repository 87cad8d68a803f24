"""README's Python is run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from PIL import Image

from tests.project import ROOT, Project


def test_the_chosen_encoder_is_loaded_as_readme_says(finished: Project, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"^The chosen encoder, .*?\n\n((?: {4}.*\n|\n)+)", readme, re.MULTILINE)
    assert found is not None
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "image.jpg")
    code = dedent(found[1]).replace("runs/photos", "runs/tiny").replace("path/to", str(tmp_path))
    code += (
        "\nprint(tuple(features.shape) == (1, encoder.features), bool(features.isfinite().all()), encoder.training)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["True", "True", "False"], done.stderr
