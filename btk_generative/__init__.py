"""Realistic galaxy blends from deep generative models of morphology."""
