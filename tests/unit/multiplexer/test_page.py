"""What docs/multiplexer.md shows is what the program reads."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from anvil.multiplexer.config import parse
from anvil.topology.model import Multiplexer

PAGE = (Path(__file__).parents[3] / "docs/multiplexer.md").read_text()


def test_the_page_s_files_are_read() -> None:
    topology, own = [block.split("```")[0] for block in PAGE.split("```toml\n")[1:]]
    assert parse(own, "page").registry[0].name == "tiny-fast"
    assert msgspec.convert(tomllib.loads(topology)["multiplexer"], Multiplexer).port == 8100
