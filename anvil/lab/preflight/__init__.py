"""Preflight: does an OpenAI-compatible endpoint do what a coding client needs (lab contract 4.1)?"""
