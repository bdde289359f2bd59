"""Stop the selected serves, or all of them and the multiplexer that would start them again."""

from anvil.deploys import multiplexer, serves

multiplexer.stopped_with_everything()
serves.stopped()
