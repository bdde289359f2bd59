"""Does the hook fire once per message: a logger goes in, you send --data messages=3, they are judged, it comes out."""

from anvil.deploys import harness_verify

harness_verify.judged()
