"""The model that the package ships: a smooth galaxy, with structure on it."""
