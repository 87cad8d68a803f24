"""Training steps alone and beside another training, by what waiting threads do: sleep, or spin as OpenMP has them do.

    python -m bench.neighbour [steps]

The bare step of the small CNN (batch 256, two views of 20 x 20, two threads), each measurement in a process of its own,
since OpenMP reads OMP_WAIT_POLICY when it is loaded. src/runtime/app.py sets PASSIVE where nothing is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 20
POLICIES = ("PASSIVE", "ACTIVE", "")  # empty: OpenMP's own, which spins for a while


def measure() -> float:
    """Median milliseconds of a step, in this process."""
    from bench.train import CASES, bare, packed, trial_of
    from src.runtime.device import set_up

    set_up("cpu", 2)
    with tempfile.TemporaryDirectory() as folder:
        manifest = packed(Path(folder), 20)
        options = {"device": "cpu", "precision": "fp32", "threads": 2, "overrides": ""}
        trial = trial_of(CASES["cnn20"], options, manifest, Path(folder) / "store")
        step = bare(trial, manifest, "cpu")
        for _ in range(3):
            step()
        took = []
        for _ in range(STEPS):
            started = time.perf_counter()
            step()
            took.append(time.perf_counter() - started)
    return 1000 * median(took)


def measured(policy: str, *, beside: bool) -> float:
    """Of one process, or of the slower of two at once."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
    call = f"import sys; sys.argv = ['', '{STEPS}']; from bench.neighbour import measure; print(measure())"
    command = [sys.executable, "-c", call]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(1 + beside)
    ]
    return max(float(process.communicate()[0]) for process in processes)


def main() -> None:
    print(f"{'OMP_WAIT_POLICY':>16} {'alone, ms':>10} {'two at once, ms':>16}")
    for policy in POLICIES:
        alone, beside = measured(policy, beside=False), measured(policy, beside=True)
        print(f"{policy or 'not set':>16} {alone:>10.1f} {beside:>16.1f}", flush=True)


if __name__ == "__main__":
    main()
