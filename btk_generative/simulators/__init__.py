"""Generative galaxies in other simulators, a module for each."""
