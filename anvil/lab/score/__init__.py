"""Which model for which role, by published numbers only (lab contract 14)."""
