"""The report page: one file that needs no network, every number from metrics.json."""

from __future__ import annotations

import base64
from pathlib import Path

from markupsafe import Markup

from src.report.numbers import ReportNumbers
from src.runtime.figure_style import INK
from src.runtime.templates import environment
from src.study.pool import LABELS
from src.study.tables import shorten


def render(numbers: ReportNumbers, figures: dict[str, Path]) -> str:
    """The page as HTML with its figures inside."""
    pages = environment(Path(__file__).parent, html=True)
    # z: a number that rounds to -0 is shown as 0.
    pages.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:z.1f}"
    pages.filters["ratio"] = lambda value: "–" if value is None else f"{value:z.2f}"
    pages.filters["short"] = shorten
    # The minus sign is as wide as the plus; the page's script turns it back where it sorts.
    pages.filters["signed"] = lambda value: "–" if value is None else f"{value:+z.2f}".replace("-", "−")
    pages.filters["labels_of"] = lambda name: LABELS + name
    pages.filters["figures"] = lambda value: "–" if value is None else f"{value:.4g}"
    embedded = {name: _inline(path) for name, path in figures.items()}
    return pages.get_template("page.html.j2").render(m=numbers, figures=embedded)


def _inline(path: Path) -> Markup:
    # As part of the page, an SVG's lines and words take the page's colour, light or dark.
    if path.suffix == ".svg":
        text = path.read_text()
        return Markup(text[text.index("<svg") :].replace(INK, "currentColor"))
    content = base64.b64encode(path.read_bytes()).decode()
    return Markup(f'<img src="data:image/png;base64,{content}" alt="{path.stem}">')
