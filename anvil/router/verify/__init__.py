"""Structural verification (contract 12): a check fails only when it can prove a defect."""
