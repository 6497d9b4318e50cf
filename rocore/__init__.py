"""RoCORE: discover novel relations in unlabeled text, guided by labeled known relations.

The public names, imported on first use so that `import rocore` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rocore.config import Config, dump_config, load_config, make_config, override
from rocore.errors import (
    CacheError,
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    EncoderError,
    RocoreError,
)
from rocore.process import set_environment

if TYPE_CHECKING:
    from rocore.downloads import cache_root
    from rocore.encoder.source import num_layers
    from rocore.environment import describe_environment
    from rocore.evaluation import Evaluator, Prediction
    from rocore.outputs import check_file, check_folder, write_atomically
    from rocore.patience import patiently
    from rocore.prediction import Predictor, load_predictor
    from rocore.progress import progress_bars
    from rocore.run_directory import WHERE_ONLY, RunDirectory, write_json
    from rocore.storage import Storage, is_url
    from rocore.streams import outlive_readers
    from rocore.text import shortened, shown, visible
    from rocore.training.cost import EpochCost, RunCost, measure_run
    from rocore.training.pack import pack_key, run_packed_epoch
    from rocore.training.run import RunResult, save_run, set_threads, train_run
    from rocore.training.task import (
        Prepared,
        TrainingTask,
        build_trunk_cache,
        check_encoder,
        check_task,
        prepare,
        settle_precision,
    )
    from rocore.training.trainer import EpochReport, Trainer

_HOMES = {
    "cache_root": "rocore.downloads",
    "num_layers": "rocore.encoder.source",
    "describe_environment": "rocore.environment",
    "Evaluator": "rocore.evaluation",
    "Prediction": "rocore.evaluation",
    "check_file": "rocore.outputs",
    "check_folder": "rocore.outputs",
    "patiently": "rocore.patience",
    "Predictor": "rocore.prediction",
    "load_predictor": "rocore.prediction",
    "progress_bars": "rocore.progress",
    "WHERE_ONLY": "rocore.run_directory",
    "RunDirectory": "rocore.run_directory",
    "write_atomically": "rocore.outputs",
    "write_json": "rocore.run_directory",
    "Storage": "rocore.storage",
    "is_url": "rocore.storage",
    "outlive_readers": "rocore.streams",
    "shortened": "rocore.text",
    "shown": "rocore.text",
    "visible": "rocore.text",
    "EpochCost": "rocore.training.cost",
    "RunCost": "rocore.training.cost",
    "measure_run": "rocore.training.cost",
    "pack_key": "rocore.training.pack",
    "run_packed_epoch": "rocore.training.pack",
    "RunResult": "rocore.training.run",
    "save_run": "rocore.training.run",
    "set_threads": "rocore.training.run",
    "train_run": "rocore.training.run",
    "Prepared": "rocore.training.task",
    "TrainingTask": "rocore.training.task",
    "build_trunk_cache": "rocore.training.task",
    "check_encoder": "rocore.training.task",
    "check_task": "rocore.training.task",
    "prepare": "rocore.training.task",
    "settle_precision": "rocore.training.task",
    "EpochReport": "rocore.training.trainer",
    "Trainer": "rocore.training.trainer",
}

__all__ = [
    "WHERE_ONLY",
    "CacheError",
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "DivergedError",
    "EncoderError",
    "EpochCost",
    "EpochReport",
    "Evaluator",
    "Prediction",
    "Predictor",
    "Prepared",
    "RocoreError",
    "RunCost",
    "RunDirectory",
    "RunResult",
    "Storage",
    "Trainer",
    "TrainingTask",
    "build_trunk_cache",
    "cache_root",
    "check_encoder",
    "check_file",
    "check_folder",
    "check_task",
    "describe_environment",
    "dump_config",
    "is_url",
    "load_config",
    "load_predictor",
    "make_config",
    "measure_run",
    "num_layers",
    "outlive_readers",
    "override",
    "pack_key",
    "patiently",
    "prepare",
    "progress_bars",
    "run_packed_epoch",
    "save_run",
    "set_environment",
    "set_threads",
    "settle_precision",
    "shortened",
    "shown",
    "train_run",
    "visible",
    "write_atomically",
    "write_json",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
