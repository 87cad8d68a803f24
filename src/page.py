"""The report page: one file that needs no network, every number from metrics.json."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.figures import INK
from src.pool import LABELS
from src.show import shorten


def render(metrics: dict[str, Any], figures: dict[str, Path]) -> str:
    """The page as HTML with its figures inside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:z.1f}"
    environment.filters["ratio"] = lambda value: "–" if value is None else f"{value:z.2f}"
    environment.filters["short"] = shorten
    environment.filters["signed"] = lambda value: "–" if value is None else f"{value:+z.2f}".replace("-", "−")
    environment.filters["labels_of"] = lambda name: LABELS + name
    environment.filters["figures"] = lambda value: "–" if value is None else f"{value:.4g}"
    embedded = {name: _inline(path) for name, path in figures.items()}
    return environment.get_template("page.html.j2").render(m=metrics, figures=embedded)


def _inline(path: Path) -> Markup:
    if path.suffix == ".svg":  # as part of the page its lines and words take the page's colour, light or dark
        text = path.read_text()
        return Markup(text[text.index("<svg") :].replace(INK, "currentColor"))
    content = base64.b64encode(path.read_bytes()).decode()
    return Markup(f'<img src="data:image/png;base64,{content}" alt="{path.stem}">')
