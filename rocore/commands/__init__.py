"""The sub-commands of `rocore` that train, evaluate, predict and look at data."""
