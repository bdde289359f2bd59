"""Model repositories as texts name them: in a topology, a recipe, a command line."""

from __future__ import annotations

import re


def stands_in(repo: str, text: str) -> bool:
    """Whether ``text`` names the repository or its cache folder, not only one that begins alike. Both in lower case."""
    names = (repo, f"models--{repo.replace('/', '--')}")
    return any(re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text) for name in names)
