"""Datasets as arrays."""

from pretrain.data.dataset import Dataset, Split
from pretrain.data.loading import load, load_all, reader

__all__ = ["Dataset", "Split", "load", "load_all", "reader"]
