"""Context sizes of a usage profile (``anvil usage --out FILE``) for the bench to draw from."""

from __future__ import annotations

from pathlib import Path

import msgspec

from anvil.lab.bench.draws import BUILTIN, Steps
from anvil.lab.endpoint import Refused

BUILTIN_NAME = "builtin"
SCHEMA = "anvil.usage/v1"


class _Usage(msgspec.Struct):
    schema: str
    distribution: list[tuple[float, int]]


def read(name: str) -> Steps:
    """The steps of ``builtin`` or of the file. Raises Refused."""
    if name == BUILTIN_NAME:
        return BUILTIN
    try:
        found = msgspec.json.decode(Path(name).read_bytes(), type=_Usage)
    except OSError as error:
        raise Refused(f"--distribution {name}: {error.strerror}; give {BUILTIN_NAME} or a usage profile") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(
            f"--distribution {name}: no usage profile ({error}); `anvil usage --out FILE` makes one"
        ) from None
    steps = found.distribution
    shares = [share for share, _ in steps]
    if found.schema != SCHEMA or not steps:
        raise Refused(f"--distribution {name}: no {SCHEMA} with a distribution; `anvil usage --out FILE` makes one")
    if shares != sorted(shares) or shares[0] < 0 or shares[-1] != 1 or any(tokens < 1 for _, tokens in steps):
        raise Refused(f"--distribution {name}: distribution must be [share, tokens] pairs, shares rising to 1")
    return steps
