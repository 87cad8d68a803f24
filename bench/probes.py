"""Our linear probe, all strengths and the choice among them, against one scikit-learn fit per strength.

    python -m bench.probes [threads]

Both get the same features, made to be as ill-conditioned as those of trained encoders, and the same threads. Ours also
chooses the strength on held-out groups and fits again; scikit-learn only fits. Measured in alternation in one run.
Where another program keeps a core busy, threads wait for each other and only ``1`` measures anything.
The difference in accuracy is that of one fit per strength, ours against scikit-learn run to convergence.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
os.environ |= {name: str(THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

import numpy as np  # noqa: E402  (the libraries read the number of threads when they are loaded)
import torch  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from torch import Tensor  # noqa: E402

from src.probes.labelled import Labelled  # noqa: E402
from src.probes.linear import fit_logistic, linear, moments, predict_logistic  # noqa: E402
from src.runtime.rng import generator  # noqa: E402

STRENGTHS = [0.0001, 0.001, 0.01, 0.1, 1.0]
SIZES = ((2000, 128), (4000, 512))
SCORED, CLASSES, ROUNDS = 10000, 10, 5


def features(n: int, d: int, seed: int) -> Labelled:
    """Overlapping classes whose standard deviations fall as 1/i, mixed by a rotation shared between seeds."""
    shared, own = generator(0, "bench"), generator(seed, "bench features")
    rotation = torch.linalg.qr(torch.randn(d, d, generator=shared)).Q
    centres = torch.randn(CLASSES, d, generator=shared)
    classes = torch.arange(n) % CLASSES
    latent = (0.5 * centres[classes] + torch.randn(n, d, generator=own)) / torch.arange(1, d + 1)
    keep = torch.rand(n, d, generator=own) < 0.5  # the class shows in only half of an image's directions
    latent = torch.where(keep, latent, torch.randn(n, d, generator=own) / torch.arange(1, d + 1))
    return Labelled(latent @ rotation, classes, torch.arange(n), {})


def scikit_learn(x: np.ndarray, classes: np.ndarray, strength: float, tolerance: float) -> LogisticRegression:
    return LogisticRegression(C=1 / (strength * len(x)), max_iter=20000, tol=tolerance).fit(x, classes)


def every_strength(x: np.ndarray, classes: np.ndarray) -> None:
    for strength in STRENGTHS:
        scikit_learn(x, classes, strength, tolerance=1e-4)  # its default


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(THREADS)
    for n, d in SIZES:
        fitted, scored = features(n, d, 1), features(SCORED, d, 2)
        mean, std = fitted.features.mean(0), fitted.features.std(0, correction=0)
        x, queries = ((f - mean) / std for f in (fitted.features, scored.features))
        plain, classes = x.numpy(), fitted.classes.numpy()
        runs: dict[str, Callable[[], object]] = {
            "ours": partial(linear, fitted, scored, strengths=STRENGTHS, seed=0),
            "scikit-learn": partial(every_strength, plain, classes),
        }
        times = {name: np.median(pair) for name, pair in zip(runs, alternate(list(runs.values())), strict=True)}
        load = os.getloadavg()[0]
        print(
            f"{n:,} x {d}, {len(STRENGTHS)} strengths, {THREADS} threads, median of {ROUNDS}"
            f" (load {load:.1f} on {os.cpu_count()} cores)"
        )
        print("  " + ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in times.items()), end=", ")
        print(f"ratio {times['scikit-learn'] / times['ours']:.1f} (goal 5)")
        for strength in STRENGTHS:
            fit = fit_logistic(fitted.features, fitted.classes, moments(fitted.features), strength=strength)
            ours = percent(predict_logistic(fit, scored.features), scored)
            reference = scikit_learn(plain.astype(np.float64), classes, strength, 1e-8)
            theirs = percent(torch.from_numpy(reference.predict(queries.numpy())), scored)
            print(f"  strength {strength:<6g} accuracy {ours:.2f} %, {ours - theirs:+.2f} points from scikit-learn")


def percent(predicted: Tensor, scored: Labelled) -> float:
    return 100 * float((predicted == scored.classes).double().mean())


def alternate(runs: list[Callable[[], object]]) -> np.ndarray:
    """Seconds of each run, (runs, rounds), after one unmeasured round."""
    return np.array([[seconds(run) for run in runs] for _ in range(ROUNDS + 1)])[1:].T


if __name__ == "__main__":
    main()
