"""Documents as operators write them by hand, one peculiarity each. Texts that hold SECRET may never be shown."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).with_name("data") / "operators"
WRITTEN = {path.stem: path.read_bytes() for path in sorted(_FOLDER.glob("*.json5"))}
# What the merge refuses -> words of the reason.
REFUSED = {
    "dup-key": "'models' stands twice",
    "include-models": "models.$include",
    "include-top": "$include",
    "plugin-denied": "plugins.deny",
    "rows-with-comments": "its comment would be lost",
}
