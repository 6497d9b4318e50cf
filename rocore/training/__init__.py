"""Algorithm 1: what a run trains on, its epochs, its checkpoints."""
