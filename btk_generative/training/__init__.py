"""Training of generative models of galaxy morphology."""
