"""The models on a machine: found offline, described by what they say of themselves (lab contract 8)."""
