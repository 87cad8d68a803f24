"""The report page: one file, every number from metrics.json."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.screen import shorten


def render(metrics: dict[str, Any], figures: dict[str, Path]) -> str:
    """The page as HTML with its figures inside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    environment.filters["ratio"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["short"] = shorten
    environment.filters["signed"] = lambda value: f"{value:+.2f}".replace("-", "−")
    embedded = {name: _inline(path) for name, path in figures.items()}
    return environment.get_template("page.html.j2").render(m=metrics, figures=embedded)


def _inline(path: Path) -> Markup:
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    content = base64.b64encode(path.read_bytes()).decode()
    return Markup(f'<img src="data:image/{kind};base64,{content}" alt="{path.stem}">')
