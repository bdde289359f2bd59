"""A double-quoted string that JSON, TOML and YAML read alike."""

from __future__ import annotations

import json
import re

# Legal in JSON, but not as themselves in TOML or YAML.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def quoted(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))
