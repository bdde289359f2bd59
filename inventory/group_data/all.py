"""Defaults of the values that `--data key=value` overrides on one run (operations.md 8.1)."""

wait = True
