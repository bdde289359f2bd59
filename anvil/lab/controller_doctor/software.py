"""The interpreter, and the packages deploys need. Nothing is imported: a broken package must not break the doctor."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import metadata

from anvil.lab.controller_doctor import Check, Level

NEEDED, NEWEST_TESTED = (3, 11), (3, 13)
# Distributions of the deploy extra, beside pyinfra, that rendering imports.
RENDERING = ("jinja2", "PyYAML")

_REQUIREMENT = re.compile(r"^paramiko(?:\[[^\]]*\])?\s*\(?(?P<bounds>[^;)]*)", re.IGNORECASE)
_BOUND = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*([0-9]+(?:\.[0-9]+)*)")

Versions = Callable[[str], str | None]


def installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def requirements(distribution: str) -> Sequence[str]:
    return metadata.requires(distribution) or ()


def python(version: tuple[int, int]) -> Check:
    found = ".".join(map(str, version))
    if version < NEEDED:
        return Check("FAIL", "python", f"{found}; anvil needs {'.'.join(map(str, NEEDED))} or newer")
    if version > NEWEST_TESTED:
        return Check("WARN", "python", f"{found} is newer than any it was tested with")
    return Check("PASS", "python", found)


def deploy_packages(deploys: bool, version: Versions, required: Callable[[str], Sequence[str]]) -> list[Check]:
    """Their absence is a FAIL only where deploys are to run from here."""
    missing: Level = "FAIL" if deploys else "WARN"
    found = version("pyinfra")
    hint = "pip install 'anvil-serving[deploy]'"
    if found is None:
        return [Check(missing, "pyinfra", f"not installed; deploys need it: {hint}")]
    checks = [Check("PASS", "pyinfra", found), _paramiko(missing, version("paramiko"), required("pyinfra"))]
    absent = [name for name in RENDERING if version(name) is None]
    detail = f"{', '.join(absent)} missing: {hint}" if absent else ", ".join(RENDERING)
    return [*checks, Check(missing if absent else "PASS", "rendering packages", detail)]


def _paramiko(missing: Level, found: str | None, required: Sequence[str]) -> Check:
    bounds = next((match["bounds"] for line in required if (match := _REQUIREMENT.match(line))), "")
    if found is None:
        return Check(missing, "paramiko", "not installed, pyinfra cannot reach a host; reinstall pyinfra")
    if not accepted(found, bounds):
        return Check(missing, "paramiko", f"{found}, but pyinfra wants {bounds.strip()}; reinstall pyinfra")
    return Check("PASS", "paramiko", found)


def accepted(version: str, bounds: str) -> bool:
    """Whether a release meets a list of bounds such as `>=2.7,<5`; `~=` allows newer last parts."""
    mine = _numbers(version)
    return all(_meets(mine, sign, _numbers(limit)) for sign, limit in _BOUND.findall(bounds))


def _meets(mine: tuple[int, ...], sign: str, limit: tuple[int, ...]) -> bool:
    width = max(len(mine), len(limit))
    left, right = (each + (0,) * (width - len(each)) for each in (mine, limit))
    return {
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
        "==": left == right,
        "!=": left != right,
        "~=": left >= right and mine[: len(limit) - 1] == limit[:-1],
    }[sign]


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else (0,)
