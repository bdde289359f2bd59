"""What of a model cache could go, and the careful removal of it (lab contract 10)."""
