"""Engine flags between a command line, a recipe's list and a topology's serve."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from anvil.topology import families

# Where it listens is the place's business, not the recipe's.
_PLACE = ("--host", "--port")


class Difference(NamedTuple):
    """Flags of the recipe that the serve would not give the engine, and the other way round."""

    missing: tuple[str, ...]
    added: tuple[str, ...]


def grouped(words: Sequence[str]) -> list[str]:
    """`--flag value` words as one text per flag; `--flag=value` becomes the same form."""
    groups: list[str] = []
    for word in words:
        if word.startswith("-") and not _is_number(word):
            groups.append(word.replace("=", " ", 1) if word.startswith("--") else word)
        elif groups:
            groups[-1] += f" {word}"
        else:
            groups.append(word)
    return groups


def portable(groups: Iterable[str]) -> list[str]:
    """Without the address it listens on."""
    return [group for group in groups if group.partition(" ")[0] not in _PLACE]


def difference(recipe: Iterable[str], argv: Iterable[str]) -> Difference:
    """Order does not matter, numbers compare as numbers (0.9 is 0.90)."""
    ours, theirs = ({_normal(group): group for group in portable(groups)} for groups in (recipe, argv))
    return Difference(
        tuple(text for key, text in ours.items() if key not in theirs),
        tuple(text for key, text in theirs.items() if key not in ours),
    )


def _normal(group: str) -> tuple[str, object]:
    name, _, value = group.partition(" ")
    try:
        return name, json.dumps(json.loads(value), sort_keys=True) if value[:1] in "{[" and value else float(value)
    except ValueError:
        return name, value


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


_Take = tuple[str, Callable[[str], Any]]
_VLLM: Mapping[str, _Take] = {
    "--served-model-name": ("served_model", str),
    "--quantization": ("quantization", str),
    "--kv-cache-dtype": ("kv_cache_dtype", str),
    "--tool-call-parser": ("tool_parser", str),
    "--reasoning-parser": ("reasoning_parser", str),
    "--trust-remote-code": ("trust_remote_code", bool),
    "--max-num-seqs": ("max_concurrent", int),
    "--language-model-only": ("language_only", bool),
    "--revision": ("revision", str),
    "--gpu-memory-utilization": ("gpu_memory", float),
    "--max-model-len": ("context", int),
}
_SGLANG: Mapping[str, _Take] = {
    **{flag: _VLLM[flag] for flag in ("--served-model-name", "--quantization", "--kv-cache-dtype")},
    **{flag: _VLLM[flag] for flag in ("--tool-call-parser", "--reasoning-parser", "--trust-remote-code", "--revision")},
    "--language-only": ("language_only", bool),
    "--context-length": ("context", int),
    "--max-running-requests": ("max_concurrent", int),
    "--mem-fraction-static": ("gpu_memory", float),
}
_LLAMACPP: Mapping[str, _Take] = {
    "-a": ("served_model", str),
    "-t": ("threads", int),
    "-n": ("predict", int),
    "-np": ("parallel", int),
    "-c": ("context", int),
    "--chat-template-file": ("chat_template_file", str),
}
_KEYS: Mapping[str, Mapping[str, _Take]] = {"vllm": _VLLM, "sglang": _SGLANG, "llamacpp": _LLAMACPP}
# Written by the renderer on its own.
_IMPLIED: Mapping[str, tuple[str, ...]] = {
    "vllm": ("--enable-auto-tool-choice", "--tensor-parallel-size"),
    "sglang": ("--enable-metrics", "--tp"),
    "llamacpp": ("--jinja", "--metrics", "--offline", "-m"),
}
_SPECULATIVE: Mapping[str, _Take] = {
    "--speculative-algorithm": ("algorithm", str),
    "--speculative-num-steps": ("steps", int),
    "--speculative-eagle-topk": ("topk", int),
    "--speculative-num-draft-tokens": ("draft_tokens", int),
}


def serve_keys(engine: str, groups: Iterable[str], family: str | None) -> dict[str, Any]:
    """The serve's keys that make the renderer write these flags; what has no key goes to ``extra_args``.

    Raises ValueError for a value that is not of the flag's kind.
    """
    keys: dict[str, Any] = {}
    extra: list[str] = []
    for group in portable(groups):
        flag, _, value = group.partition(" ")
        if not _taken(engine, flag, value, keys) and flag not in _IMPLIED.get(engine, ()):
            extra += [flag, value] if value else [flag]
    _without_family(engine, keys, family)
    if engine == "llamacpp" and "context" in keys:
        keys["context"] //= keys.get("parallel", 1)
    return keys | ({"extra_args": extra} if extra else {})


def _taken(engine: str, flag: str, value: str, keys: dict[str, Any]) -> bool:
    if engine == "llamacpp" and f"{flag} {value}" == "-cram 0":
        return True
    if engine == "sglang" and flag in _SPECULATIVE:
        name, kind = _SPECULATIVE[flag]
        keys.setdefault("speculative", {})[name] = kind(value)
        return True
    if engine == "vllm" and flag == "--speculative-config":
        return _vllm_speculative(value, keys)
    found = _KEYS.get(engine, {}).get(flag)
    if found is None:
        return False
    name, kind = found
    keys[name] = True if kind is bool else kind(value)
    return True


def _vllm_speculative(value: str, keys: dict[str, Any]) -> bool:
    """Only the two keys the topology knows; a richer document stays an extra argument."""
    document = json.loads(value)
    if not isinstance(document, dict) or not set(document) <= {"method", "num_speculative_tokens"}:
        return False
    known = {"algorithm": document.get("method"), "draft_tokens": document.get("num_speculative_tokens")}
    keys["speculative"] = {key: each for key, each in known.items() if each is not None}
    return "method" in document


def _without_family(engine: str, keys: dict[str, Any], family: str | None) -> None:
    """A parser is written out only where the family's would be another one; "" says none."""
    if engine not in ("vllm", "sglang"):
        return
    known = families.parsers(family, engine)
    for key, usual in (("tool_parser", known.tool), ("reasoning_parser", known.reasoning)):
        if keys.get(key) == usual:
            keys.pop(key, None)
        elif key not in keys:
            keys[key] = ""
