"""Random houses and requests, and an independent reading of contract 9 to 11, 15 that says what must happen."""
