"""Checks a model of galaxy morphology against HST COSMOS, as Lanusse et al. 2021 did."""
