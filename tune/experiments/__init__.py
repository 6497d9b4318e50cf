"""Experiments: named settings, each trained over the same seeds, and compared with one of them."""
