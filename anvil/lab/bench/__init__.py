"""Bench: how an OpenAI-compatible endpoint bears load (lab contract 4.2)."""
