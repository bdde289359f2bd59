"""What an operation says about itself: once per run, on stderr, never a secret."""

from __future__ import annotations

import difflib

from pyinfra.context import host, state


def speaking() -> bool:
    """True in exactly one of an operation's two evaluations.

    The prepare evaluation speaks, as a dry run has no other; with `-y` there is none, so the execute evaluation does.
    """
    return bool(state.is_executing) != bool(state.check_for_changes)


def announce(message: str) -> None:
    """One line saying why this operation changes something."""
    if speaking():
        host.log(message)


def warn(message: str) -> None:
    if speaking():
        host.log_styled(f"WARN {message}", fg="yellow")


def unified(path: str, old: str, new: str) -> list[str]:
    """A unified diff; callers mask secrets on both sides first."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"{path} (live)", f"{path} (wanted)", lineterm="")
    return list(lines)


def wants_diff() -> bool:
    return bool(state.config.DIFF) and speaking()


def show_diff(path: str, old: str, new: str) -> None:
    """Print the diff when `--diff` asked for it."""
    if wants_diff():
        for line in unified(path, old, new):
            host.log(line)
