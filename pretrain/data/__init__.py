"""Datasets as arrays."""

from pretrain.data.dataset import Dataset, Split, load, load_all

__all__ = ["Dataset", "Split", "load", "load_all"]
