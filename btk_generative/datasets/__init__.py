"""Data sets of blends: drawn in shards, on one machine or many, and read again."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["GenerateConfig"],
        "integrity": ["verify"],
        "reader": ["BlendDataset", "open_dataset"],
        "job": ["generate"],
    },
)
