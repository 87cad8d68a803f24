"""What a person sees while a study trains."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

WIDTH = 150


def make_console() -> Console:
    """As wide as the terminal, and wide enough for a table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


class Screen:
    """One bar for the study, one for the running trial, one line for each trial that ended."""

    def __init__(self, study: str, trials: int, criterion: str) -> None:
        self.console = make_console()
        self.criterion, self.trials = criterion, trials
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            transient=True,
            speed_estimate_period=float("inf"),  # trials take minutes
        )
        self.done, self.images = 0, 1
        self.study = self.bars.add_task(f"study {study}", total=trials, facts="")
        self.trial = self.bars.add_task("", total=None, facts="", visible=False)
        self.bars.start()

    def begin(self, number: int, done: int, images: int) -> None:
        self.done, self.images = done, images
        self.bars.update(self.study, completed=done, facts=f"{done + 1} of {self.trials}")
        self.bars.reset(self.trial, total=images, description=f"trial {number}", facts="", visible=True)
        if not self.console.is_terminal:
            self.console.print(f"trial {number:>3}  begins, {done + 1} of {self.trials}", highlight=False)

    def advance(self, images: float, loss: float, value: float | None) -> None:
        facts = f"loss {loss:.3f}" + (f"  {self.criterion} {value:.4g}" if value is not None else "")
        self.bars.update(self.trial, completed=images, facts=facts)
        self.bars.update(self.study, completed=self.done + images / self.images)

    def end(self, entry: dict[str, Any], trained: bool, done: int) -> None:
        self.bars.update(self.study, completed=done)
        self.bars.update(self.trial, visible=False)
        how = "" if trained else " (from the store)"
        value = "" if entry["criterion"] is None else f"{self.criterion} {entry['criterion']:.4g}"
        line = f"trial {entry['number']:>3}  {entry['trial'][:8]}  {entry['status']:<9}  {value}{how}"
        self.console.print(line, highlight=False)

    def stop(self) -> None:
        self.bars.stop()
