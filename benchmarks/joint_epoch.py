"""Time of pre-training and joint epochs by part, and memory, of one run.

python benchmarks/joint_epoch.py configs/rocore/fewrel_minilm.yaml data.root=data/fewrel [more.keys=values]
"""

import os
import resource
import statistics
import sys
import time

from rocore.commands.main import ENVIRONMENT

os.environ.update(ENVIRONMENT | dict(os.environ))  # what the `rocore` command sets, before torch reads it

import torch

import rocore
from rocore.config import parse_override

NUM_EPOCHS = 3


def main() -> None:
    """Run three pre-training and three joint epochs and print medians."""
    path, *overrides = sys.argv[1:]
    config = rocore.load_config(
        path,
        dict(map(parse_override, overrides))
        | {"train.pretrain_epochs": NUM_EPOCHS, "train.max_epochs": NUM_EPOCHS},
    )
    start = time.perf_counter()
    with rocore.progress_bars() as progress:
        prepared = rocore.prepare(config, progress)
    where = f"{prepared.task.device}, {prepared.task.precision}"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {where}")
    print(f"prepare (data, encoder, trunk cache): {time.perf_counter() - start:.1f} s")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trainer = rocore.Trainer(config, prepared.task)
    reports = [trainer.run_epoch() for _ in range(trainer.total_epochs)]
    num_steps = -(-len(prepared.task.known_train) // config.train.batch_size)
    for phase in ("pretrain", "joint"):
        parts = [report.seconds for report in reports if report.phase == phase]
        for part in parts[-1]:
            seconds = [p[part] for p in parts if part in p]
            print(
                f"{phase:9s} {part:14s} median {statistics.median(seconds):7.2f} s  first {seconds[0]:7.2f} s"
            )
        total = statistics.median(sum(p.values()) for p in parts)
        step = statistics.median(p["steps"] for p in parts) / num_steps
        print(f"{phase:9s} epoch          median {total:7.2f} s  ({num_steps} steps of {step * 1000:.0f} ms)")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"peak resident memory {after / 2**20:.2f} GiB, of which {before / 2**20:.2f} GiB stood before training"
    )


if __name__ == "__main__":
    main()
