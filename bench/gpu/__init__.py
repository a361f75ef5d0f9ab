"""The benchmark on a GPU: `python bench/run.py --device cuda`."""
