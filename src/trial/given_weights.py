"""Given weights, as part of a trial's name and in the store: read once, kept under their checksum.

Apart from initial_weights, since that is code that trains, whose statements are part of every trial's name.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from src.runtime import files
from src.trial.config import GivenStart, Start
from src.trial.initial_weights import checksum_of, contents, kept_path
from src.trial.state_dicts import read_weights, sorted_out


def read_start(start: GivenStart) -> Start:
    """What of ``start`` is part of a trial's name: given weights' checksum, and frozen layers. Writes nothing.

    Raises ValueError on a bad file, or where there is none for what is said about it.
    """
    if start.weights is None:
        for name, value in (("ignore", start.ignore), ("encoder_prefix", start.encoder_prefix)):
            if value:
                raise ValueError(f"start.{name} is about start.weights, which is null, got {value!r}")
        return Start(weights=None, frozen=start.frozen)
    prefixes = {"encoder": start.encoder_prefix}
    found = sorted_out(read_weights(Path(start.weights)), prefixes, start.ignore)
    # clones, since safetensors refuses entries that share memory;
    # sorted, so that a trial's name doesn't depend on their order in the file
    content = save({name: value.detach().cpu().clone().contiguous() for name, value in sorted(found.items())})
    checksum = checksum_of(content)
    contents[checksum] = content
    return Start(weights=checksum, frozen=start.frozen)


def keep_weights(start: Start, store: Path) -> None:
    """Keep what ``read_start`` has read in the store, where a trial finds it again."""
    if start.weights is None:
        return
    path = kept_path(start.weights, store)
    if not path.exists() or files.checksum(path) != start.weights:
        files.write_atomically(path, contents[start.weights])
