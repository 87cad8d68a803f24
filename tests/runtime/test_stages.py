from __future__ import annotations

import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.runtime.settings import Folders
from src.runtime.stages import command, override

FOLDERS = Folders(data="data", runs="my runs", store="/fast/store", mlruns="mlruns")


def test_a_stage_gets_the_folders_that_it_takes() -> None:
    start = [sys.executable, "-m"]
    places = ["folders.data=data", "folders.runs='my runs'"]
    assert command("prepare", "data=digits", folders=FOLDERS) == [*start, "src.prepare", "data=digits", *places]
    all_places = [*places, "folders.store=/fast/store", "folders.mlruns=mlruns"]
    assert command("train", "-m", "seed=1", folders=FOLDERS) == [*start, "src.train", "-m", "seed=1", *all_places]


@pytest.mark.parametrize(
    "value",
    ["data", "a b", "it's", "x,y=3", "3", "null", "True", "-x", "", "a\\b", "end\\", "\\'", "\\\\'b", 'a"b', "{a}"],
)
def test_hydra_reads_an_override_as_the_text_that_it_was_made_of(value: str) -> None:
    read = OverridesParser.create().parse_override(override("folders.data", value))
    assert read.value() == value and isinstance(read.value(), str) and not read.is_sweep_override()
