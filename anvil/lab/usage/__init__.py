"""Usage: what a coding client's own logs say about its calls (lab contract 13). No text is kept."""
