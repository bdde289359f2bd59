"""Grades evaluations mechanically and adds up what judges said (lab contract 5.1, 5.2)."""
