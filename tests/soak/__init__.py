"""What the router does for long and under abuse: flapping tiers and callers that leave (``scripts/soak``)."""
