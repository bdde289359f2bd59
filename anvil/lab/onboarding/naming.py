"""Names a topology is given: from what tools print to what its keys may be."""

from __future__ import annotations

import re
from collections.abc import Collection

_LONGEST = 31  # of a table name (contract operations.md 3.2)


def table_name(text: str, taken: Collection[str] = ()) -> str:
    """A name of lower-case letters, digits and -, not among ``taken``."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = (words if words[:1].isalpha() else f"m-{words}" if words else "machine")[:_LONGEST].rstrip("-")
    if name not in taken:
        return name
    return next(each for number in range(2, 1000) if (each := f"{name[: _LONGEST - 4]}-{number}") not in taken)


def served_name(repo: str) -> str:
    """The model's name on the wire: the repository's last part, lower case (contract lab.md 2.3)."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", repo.rstrip("/").rsplit("/", 1)[-1]).strip("-").lower() or "local"


def gpu_model(name: str, total_mib: int) -> str:
    """The key benchmarks are compared by (contract lab.md 9.3)."""
    words = name.lower()
    if "rtx" in words and "5090" in words:
        return "rtx_5090_32gb"
    if "rtx" in words and "6000" in words and "pro" in words:
        return "rtx_pro_6000_blackwell_96gb"
    plain = re.sub(r"[^a-z0-9]+", "_", words.replace("nvidia", "").replace("geforce", "")).strip("_")
    size = f"{round(total_mib / 1024)}gb"
    return plain if size in plain else f"{plain}_{size}".strip("_")


_FAMILIES = (
    ("gpt-oss", r"gpt-oss"),
    ("qwen3", r"qwen-?3"),
    ("glm", r"glm-?[45]"),
    ("hermes", r"hermes"),
    ("deepseek", r"deepseek-v3"),
    ("mistral", r"mistral|devstral"),
    ("llama", r"(meta-)?llama-?[34]"),
)


def family(repo: str) -> str | None:
    """By the start of the repository's name; None where the table of contract operations.md 6.4 has nothing."""
    name = repo.rsplit("/", 1)[-1].lower()
    return next((known for known, pattern in _FAMILIES if re.match(pattern, name)), None)
