"""Small data to try networks with, and readers of files that one has: nothing is downloaded.

Made here: `xor`, `circles`, `moons`, `spiral`, `surface`. Shipped: `temperature`, `boston`. Read
from files: `cifar10`, `cifar2`, `mnist`, `csv`. By the batch, where they are larger than memory:
`parquet_batches`, `chunk_batches`. No file is a program to them: pickles of CIFAR-10
are read without running anything. Unless it says otherwise, a function returns ``(x, t)``: inputs
of shape (rows, features), and their targets.
"""

from fastmlp.datasets._split import DataError, Split
from fastmlp.datasets.chunked import chunk_batches
from fastmlp.datasets.cifar import cifar2, cifar10
from fastmlp.datasets.idx import mnist
from fastmlp.datasets.parquet import parquet_batches
from fastmlp.datasets.points import SURFACES, circles, moons, spiral, surface, xor
from fastmlp.datasets.tables import boston, csv, temperature

__all__ = [
    "SURFACES",
    "DataError",
    "Split",
    "boston",
    "chunk_batches",
    "cifar2",
    "cifar10",
    "circles",
    "csv",
    "mnist",
    "moons",
    "parquet_batches",
    "spiral",
    "surface",
    "temperature",
    "xor",
]
