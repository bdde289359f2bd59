"""Evaluations on disk and what they say: folders, scores, thresholds, rows of a quality profile."""
