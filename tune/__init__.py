"""The search: Ray Tune and Optuna propose, train, stop and compare configurations of RoCORE."""
