"""Benchmarks that others published: kept with their raw bytes, compared with ours, never a gate (lab contract 9)."""
