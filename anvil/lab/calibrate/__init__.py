"""Measure local tiers with an independent judge and propose a profile; never promotes (lab contract 6.3)."""
