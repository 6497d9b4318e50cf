"""The sub-commands of `rocore` that search and report."""
