"""The search: Ray Tune and Optuna propose, train, stop and compare configurations of RoCORE."""

import os

import rocore

# Ray prints its own account of lost processes among our lines unless this is set before it is imported; the cause of
# a lost trial is in the journal, and Ray's account in its logs.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
rocore.set_environment()
