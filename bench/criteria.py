"""Time of the spectral panel on the largest sample that RankMe's paper uses: decompositions once, criteria on top.

    python -m bench.criteria

Every criterion whose input is the embedding or one of its spectra, with the settings of its yaml; the best of a few
rounds. CPU seconds (of all threads) stand beside the wall clock, since they hold on a busy machine too. Below the
total: what the shared singular values gain on torch's own routine, and what they lose.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml

from src.criteria.rankme import rankme
from src.criteria.spectra import eigenvalues, singular_values
from src.runtime.build import build

FOLDER = Path(__file__).resolve().parent.parent / "conf" / "criterion"
IMAGES, FEATURES, THREADS, ROUNDS = 25_600, 512, 2, 3
T = TypeVar("T")


def timed(name: str, run: Callable[[], T]) -> tuple[np.ndarray, T]:
    """Seconds by the wall and of CPU, printed, and what ``run`` returns."""
    rounds = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        rounds.append((time.perf_counter() - wall, time.process_time() - cpu))
    best = np.min(rounds, axis=0)
    print(f"{name:>20}: {best[0]:6.3f} s wall {best[1]:6.3f} s CPU", flush=True)
    return best, result


def main() -> None:
    torch.set_num_threads(THREADS)
    draw = torch.Generator().manual_seed(0)
    e = torch.randn(IMAGES, FEATURES, generator=draw) * torch.logspace(0, -3, FEATURES) + 0.1
    load = os.getloadavg()[0]
    total, given = np.zeros(2), {"images": e}
    for decompose in (singular_values, eigenvalues):
        spent, given[decompose.__name__] = timed(decompose.__name__, partial(decompose, e))
        total += spent
    for path in sorted(FOLDER.glob("*.yaml")):
        criterion: dict[str, Any] = yaml.safe_load(path.read_text())
        if criterion["input"] in given:
            total += timed(
                criterion["name"], partial(build("criterion", criterion["score"]), given[criterion["input"]])
            )[0]
    print(f"{'total':>20}: {total[0]:6.3f} s wall {total[1]:6.3f} s CPU for {IMAGES:,} x {FEATURES}")

    sigma, (_, exact) = given["singular_values"], timed("float64 svdvals", lambda: torch.linalg.svdvals(e.double()))
    error = float(((sigma - exact).abs() / exact).max())
    rank_error = abs(rankme(sigma, eps=1e-7) / rankme(exact, eps=1e-7) - 1)
    print(f"{'difference':>20}: {error:.1e} of a singular value at most, {rank_error:.1e} of RankMe")
    print(f"{'machine':>20}: {THREADS} threads, load {load:.1f} on {os.cpu_count()} cores, torch {torch.__version__}")


if __name__ == "__main__":
    main()
