"""What libraries are told through the environment: by the `rocore` command, and in each of a sweep's workers.

Workers on other nodes don't inherit the command's environment.
"""

import os

ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",  # its threads deadlock after a fork, and trials share the cores
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",  # batches differ in shape: the default of 1024 keeps gigabytes
    # Threads that spin for long cost several times their work on shared cores; ones that don't spin at all cost a
    # third of a joint step's time on idle ones. This is some tens of microseconds.
    "GOMP_SPINCOUNT": "20000",
    # Large tensors in huge pages, where the system leaves it to the program: ones of 44 MB, an attention's with
    # bert-base in fp32, come from the system anew each time, in 4 KiB pages a fifth of a joint step's time.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""Read by libraries when they are imported."""


def set_environment() -> None:
    """Set what isn't set yet; libraries that are imported already may not see it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
