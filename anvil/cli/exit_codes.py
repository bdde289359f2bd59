"""What a command's exit code means, everywhere (lab contract 1)."""

from typing import Final

FAILED: Final = 1  # something was tried and failed, or a check failed
USAGE: Final = 2  # refused with nothing tried: a flag, a file, a guard
UNREACHABLE: Final = 3
MISSING_PROGRAM: Final = 127
INTERRUPTED: Final = 130
