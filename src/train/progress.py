"""What a person sees while a study trains."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src.runtime.console import make_console
from src.study.results import Status


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

    def end(self, number: int, key: str, status: Status, criterion: float | None, trained: bool, done: int) -> None:
        self.bars.update(self.study, completed=done)
        self.bars.update(self.trial, visible=False)
        how = "" if trained else " (from the store)"
        value = "" if criterion is None else f"{self.criterion} {criterion:.4g}"
        line = f"trial {number:>3}  {key[:8]}  {status:<9}  {value}{how}"
        self.console.print(line, highlight=False)

    def stop(self) -> None:
        self.bars.stop()
