"""Recipes: how a model was served and what it measured (lab contract 7)."""
