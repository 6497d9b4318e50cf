"""How h' of novel instances changes in training: at the start, after pre-training, after training (Figure 6).

Taken in every run of the final comparison, kept in its checkpoints and in the folder that it leaves, and gathered from
one run of the chosen configuration. Gold relations are here to color a picture; nothing is selected by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from rocore.errors import CheckpointError
from tune.faults import attempted
from tune.sweep_directory import FOLDERS

if TYPE_CHECKING:
    from rocore import Evaluator, Trainer

Array = np.ndarray[Any, Any]

FILE = "representations.npz"
STAGES = {"start": "At the start", "pretrained": "After pre-training", "trained": "After training"}
PART = "novel_test"
MAX_INSTANCES = 1600
"""The paper's number of novel test instances of FewRel; more are thinned out evenly."""
NUM_GROUPS, GROUP_SIZE = 6, 100
"""Relations shown, and instances of each, as in the paper's Figure 6."""


@dataclass
class Representations:
    """h' of novel test instances by stage.

    Attributes:
        run: The final run that they were taken from, such as `trial-7-seed1`; known once gathered.
        stages: h' by stage, shape (N, M), float16.
        labels: The group of every instance: its gold relation, else its cluster; empty where it has none.
        gold: Whether the groups are gold relations.
        shown: Indices of the instances in the picture.
        maps: Places of the shown instances in the plane (t-SNE), by stage, shape (S, 2).
        silhouettes: Of the shown groups in h', by stage.
        fault: Why there are no maps, where that is a mistake of this program.
    """

    run: str = ""
    stages: dict[str, Array] = field(default_factory=dict)
    labels: Array = field(default_factory=lambda: np.array([], dtype="U1"))
    gold: bool = False
    shown: Array = field(default_factory=lambda: np.array([], dtype=np.int64))
    maps: dict[str, Array] = field(default_factory=dict)
    silhouettes: dict[str, float] = field(default_factory=dict)
    fault: str = ""

    def take(self, stage: str, trainer: "Trainer") -> None:
        """Keep h' as it is now."""
        points = trainer.relation_repr(PART).detach().float().cpu().numpy()
        self.stages[stage] = points[_thinned(len(points))].astype(np.float16)

    def label(self, trainer: "Trainer", evaluator: "Evaluator | None") -> None:
        """Group the instances by gold relation where there is an evaluator, else by cluster."""
        classes = trainer.predict_novel("test").classes
        self.labels, self.gold = np.array([f"cluster {number}" for number in classes]), evaluator is not None
        if evaluator is not None:
            positions, relations = evaluator.gold.of(evaluator.novel_rows["test"])
            named = np.full(len(classes), "", dtype=object)
            # NumPy drops null characters at the end of a text.
            named[positions] = [relation.replace("\0", "\\x00") for relation in relations]
            self.labels = named.astype(str)
        self.labels = self.labels[_thinned(len(classes))]

    def save(self, path: Path) -> None:
        """Write everything to one file."""
        arrays: dict[str, Any] = {
            "run": self.run,
            "labels": self.labels,
            "gold": self.gold,
            "fault": self.fault,
            "shown": self.shown,
        }
        for prefix, by_stage in (
            ("h", self.stages),
            ("tsne", self.maps),
            ("silhouette", self.silhouettes),
        ):
            arrays |= {f"{prefix}_{stage}": value for stage, value in by_stage.items()}
        with path.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Representations":
        """Read what `save` wrote.

        Raises:
            CheckpointError: If the file is torn.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(
                    run=str(arrays["run"]),
                    stages=_by_stage(arrays, "h"),
                    labels=arrays["labels"],
                    gold=bool(arrays["gold"]),
                    fault=str(arrays["fault"]) if "fault" in arrays else "",  # older files hold none
                    shown=arrays["shown"],
                    maps=_by_stage(arrays, "tsne"),
                    silhouettes={stage: float(one) for stage, one in _by_stage(arrays, "silhouette").items()},
                )
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise CheckpointError(
                f"{path} must hold representations, but {error}; remove it, only a picture depends on it"
            ) from error

    def project(self, seed: int = 0) -> None:
        """Choose the largest groups and lay every stage out in the plane, for the picture."""
        from sklearn.manifold import TSNE
        from sklearn.metrics import silhouette_score

        names, counts = np.unique(self.labels[self.labels != ""], return_counts=True)
        largest = names[np.argsort(-counts, kind="stable")[:NUM_GROUPS]]
        self.shown = np.concatenate(
            [np.flatnonzero(self.labels == name)[:GROUP_SIZE] for name in largest] or [self.shown]
        )
        if len(largest) < 2 or len(self.shown) <= 2 * len(largest):
            self.shown = self.shown[:0]
            return
        for stage, points in self.stages.items():
            chosen = points[self.shown].astype(np.float32)
            perplexity = min(30.0, (len(chosen) - 1) / 3)
            layout = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
            self.maps[stage] = layout.fit_transform(chosen)
            self.silhouettes[stage] = float(silhouette_score(chosen, self.labels[self.shown]))


def gather(directory: Path, results: Mapping[str, Any]) -> Representations | None:
    """Put the representations of one final run of the verdict's configuration beside results.json.

    The run is that of the first seed that left them whole; where none did, an older file is removed.

    Args:
        directory: The sweep directory.
        results: What results.json holds.
    """
    best = (results.get("verdict") or {}).get("best")
    final: list[dict[str, Any]] = results.get("final") or []
    seeds = [seed for entry in final if entry["name"] == best for seed in entry["seeds"]]
    for seed in seeds:
        try:
            found = Representations.load(directory / FOLDERS["final"] / f"{best}-seed{seed}" / FILE)
        except CheckpointError:
            continue  # another seed's picture is as good, and no reason to lose the report
        found.run = f"{best}-seed{seed}"
        with attempted("the map of the representations") as attempt:
            found.project()
        found.fault = attempt.fault
        found.save(directory / FILE)
        return found
    (directory / FILE).unlink(missing_ok=True)
    return None


def _by_stage(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {stage: arrays[f"{prefix}_{stage}"] for stage in STAGES if f"{prefix}_{stage}" in arrays}


def _thinned(length: int) -> Array:
    return np.unique(np.linspace(0, length - 1, min(length, MAX_INSTANCES)).round().astype(np.int64))
