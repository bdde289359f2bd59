"""Hostile request bodies for the three parsers, as long as one likes (``scripts/fuzz``)."""
