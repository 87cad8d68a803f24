"""train: one pretraining trial, or with -m a study of many, criteria measured along the way."""

from __future__ import annotations

import shlex
import sys

from src.runtime import app, distributed, interrupts
from src.train.session import SESSION
from src.train.settings import Settings


def train(settings: Settings) -> float:
    """Carry one configuration through; the value is for the sampler."""
    from src.train.stage import run  # torch and more, which take seconds and --help doesn't need

    return run(settings)


def main() -> None:
    try:
        app.run(train, "train", Settings)
    except interrupts.OutOfTime:
        with app.one_line("train"):
            if distributed.rank() == 0:
                distributed.agree(None)
                resume = f"python -m src.train {shlex.join(sys.argv[1:])}"
                print(f"max_hours are over; the same command goes on: {resume}")
    finally:
        with app.one_line("train"):
            if SESSION.begun:
                from src.train.stage import end

                end(whole=sys.exc_info()[0] is None)


if __name__ == "__main__":
    main()
