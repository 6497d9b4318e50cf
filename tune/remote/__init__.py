"""Sweeps on an object store: who may run one, its journal, its copy on the driver's machine, and copies to read."""
