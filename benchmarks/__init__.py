"""Speed and memory of the engine against the machine and against a plain implementation: `python -m benchmarks`.

Importing this package sets what the `rocore` command sets in the environment, before torch reads it.
"""

import rocore

rocore.set_environment()
