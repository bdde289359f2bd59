"""``python -m anvil``."""

from anvil.cli import main

main()
