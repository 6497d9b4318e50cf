"""The plain baseline: RoCORE as one would first write it, on the same data and encoder.

Every forward pass runs the whole encoder, all layers, in fp32, on sentences padded to the longest of the data set; the
gradient stops below layer r. A joint step makes five passes, as the released program does:

1. labeled batch, with gradient: cross entropy (15),
2. unlabeled batch, with gradient: pair loss (13),
3. unlabeled batch: h', from which the pairs take their pseudo labels (7),
4. labeled batch: clustering loss (6), which trains g and d alone,
5. unlabeled batch: clustering loss.

An epoch adds three passes of their own: labeled instances for the centroids (5), unlabeled ones for k-means, novel test
instances for the evaluation. Where the reading is free, the cheaper one is taken: transformers' own fused attention,
dropout in layer r alone, no pass over known test instances.
"""

import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

import rocore
from rocore.data.tokenization import TokenizedSource, tokenize
from rocore.losses import center_loss, known_centroids, pair_loss, reconstruction_loss

KMEANS_STARTS = 10
WARM_UP_ROWS = 10


@dataclass(frozen=True)
class PaddedData:
    """All sentences of the bank, in its order: (n, L) pieces and masks of tokens, of the head and of the tail."""

    pieces: Tensor
    tokens: Tensor
    head: Tensor
    tail: Tensor

    @property
    def longest(self) -> int:
        """L."""
        return self.pieces.shape[1]


def tokenized_pools(prepared: rocore.Prepared, config: rocore.Config) -> list[TokenizedSource]:
    """Cut the pools of the bank into pieces, known rows first."""
    corpus, tokenizer = prepared.corpus, prepared.task.encoder.tokenizer
    pools = [corpus.known] if corpus.novel is corpus.known else [corpus.known, corpus.novel]
    return [tokenize(pool, tokenizer, config.encoder.max_pieces) for pool in pools]


def pad(pools: list[TokenizedSource]) -> PaddedData:
    """Pad every sentence to the longest of all pools."""
    longest = max(int(np.diff(pool.offsets).max()) for pool in pools)
    position = np.arange(longest)[None, :]

    def within(start: Any, end: Any) -> Any:
        return (position >= np.asarray(start)[:, None]) & (position < np.asarray(end)[:, None])

    parts: list[list[Any]] = [[], [], [], []]
    for pool in pools:
        mask = within(np.zeros(len(pool)), np.diff(pool.offsets))
        pieces = np.zeros(mask.shape, np.int64)
        pieces[mask] = pool.piece_ids
        masks = (within(pool.head_start, pool.head_end), within(pool.tail_start, pool.tail_end))
        for part, array in zip(parts, (pieces, mask, *masks), strict=True):
            part.append(torch.from_numpy(array))
    return PaddedData(*(torch.cat(part) for part in parts))


def dense_network(*sizes: int) -> nn.Sequential:
    """Return linear layers with LeakyReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


class PlainTrainer:
    """The weights and a joint step of them."""

    def __init__(self, config: rocore.Config, task: rocore.TrainingTask, data: PaddedData) -> None:
        self.config, self.task, self.data = config, task, data
        self.encoder: Any = deepcopy(task.encoder.model).eval()
        layer = self.encoder.encoder.layer[config.encoder.output_layer - 1]
        layer.requires_grad_(requires_grad=True).train()
        width, model = 2 * task.encoder.hidden_size, config.model
        sizes = (width, model.hidden_size, model.hidden_size, model.relation_size)
        self.projector, self.reconstructor = dense_network(*sizes), dense_network(*sizes[::-1])
        self.known_classifier = nn.Linear(width, task.num_known_relations)
        self.novel_classifier = nn.Linear(width, task.num_novel_relations)
        joint = nn.ModuleList([layer, self.known_classifier, self.novel_classifier])
        clustering = nn.ModuleList([self.projector, self.reconstructor])
        self.optimizers = [
            torch.optim.Adam(part.parameters(), config.train.learning_rate) for part in (joint, clustering)
        ]
        self.labels = torch.from_numpy(task.known_train_labels)
        self.centroids = torch.zeros(task.num_known_relations, model.relation_size)
        self.cluster_centers = torch.randn(task.num_novel_relations, model.relation_size)

    def embed(self, rows: Any) -> Tensor:
        """Return h of rows of the bank (equations 1-3), shape (B, 2H)."""
        rows = torch.from_numpy(rows)
        out = self.encoder(
            input_ids=self.data.pieces[rows],
            attention_mask=self.data.tokens[rows].long(),
            output_hidden_states=True,
        )
        hidden = out.hidden_states[self.config.encoder.output_layer]
        pooled = [
            hidden.masked_fill(~mask[rows][..., None], -torch.inf).amax(1)
            for mask in (self.data.head, self.data.tail)
        ]
        return torch.cat(pooled, dim=1)

    @torch.no_grad()
    def relation_repr(self, rows: Any) -> Tensor:
        """Return h', shape (B, M)."""
        projected: Tensor = self.projector(self.embed(rows))
        return projected

    def step(self, labeled: Any, unlabeled: Any) -> None:
        """Make one joint step on positions in the two training sets."""
        known, novel = self.task.known_train[labeled], self.task.novel_train[unlabeled]
        labels = self.labels[torch.from_numpy(labeled)]
        cross_entropy = F.cross_entropy(self.known_classifier(self.embed(known)), labels)
        logits = self.novel_classifier(self.embed(novel))
        pseudo_labels = torch.cdist(self.relation_repr(novel), self.cluster_centers).argmin(1)
        loss = cross_entropy + pair_loss(logits, pseudo_labels, margin=self.config.loss.pair_margin)
        self._update(self.optimizers[0], loss)
        self._update(self.optimizers[1], self.clustering_loss(known, novel, labels))

    def clustering_loss(self, known: Any, novel: Any, labels: Tensor) -> Tensor:
        """Equation 6."""
        config, total = self.config.loss, torch.zeros(())
        for rows in (known, novel):
            with torch.no_grad():
                h = self.embed(rows)
            relation_repr = self.projector(h)
            error = reconstruction_loss(self.reconstructor(relation_repr), h, scale=config.scale)
            total = total + error / 2
            if rows is known:
                total = total + config.center_weight * center_loss(relation_repr, labels, self.centroids)
        return total

    @staticmethod
    def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def seconds_of(work: Callable[[], Any]) -> float:
    """Run once and return the wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class PlainTimes:
    """Times of steps and feature batches, of which an epoch's time is made up."""

    def __init__(self, trainer: PlainTrainer) -> None:
        """Warm up on a few rows."""
        self.trainer = trainer
        self.steps: list[float] = []
        self.feature_batches: list[float] = []
        self._generator = np.random.default_rng(0)
        trainer.step(*self._draw(WARM_UP_ROWS))

    def measure(self) -> None:
        """Time one joint step and one feature batch on rows drawn anew."""
        size = self.trainer.config.train.batch_size
        labeled, unlabeled = self._draw(size)
        self.steps.append(seconds_of(lambda: self.trainer.step(labeled, unlabeled)))
        rows = self.trainer.task.novel_train[self._draw(size)[1]]
        self.feature_batches.append(seconds_of(lambda: self.trainer.relation_repr(rows)))

    def _draw(self, size: int) -> tuple[Any, Any]:
        task = self.trainer.task
        return tuple(
            self._generator.choice(len(rows), min(size, len(rows)), replace=False)
            for rows in (task.known_train, task.novel_train)
        )

    def epoch(self, relation_repr: Tensor) -> dict[str, float]:
        """Seconds of a joint epoch and what they are made of.

        Args:
            relation_repr: h' of the unlabeled training set, on which k-means and the centroids are really run.
        """
        task, size = self.trainer.task, self.trainer.config.train.batch_size
        passes = (task.known_train, task.novel_train, task.novel_test)
        num_batches = sum(-(-len(rows) // size) for rows in passes)
        num_steps = -(-len(task.known_train) // size)
        step, batch = statistics.median(self.steps), statistics.median(self.feature_batches)
        clusters = KMeans(task.num_novel_relations, n_init=KMEANS_STARTS, random_state=0)
        kmeans = seconds_of(lambda: clusters.fit(relation_repr.numpy()))
        labels = torch.arange(len(relation_repr)) % task.num_known_relations
        centroids = seconds_of(lambda: known_centroids(relation_repr, labels, task.num_known_relations))
        return {
            "step": step,
            "step_min": min(self.steps),
            "num_steps": num_steps,
            "feature_batch": batch,
            "feature_batch_min": min(self.feature_batches),
            "num_feature_batches": num_batches,
            "pseudo_labels": kmeans,
            "joint_epoch": num_steps * step + num_batches * batch + kmeans + centroids,
            "padded_to": self.trainer.data.longest,
            "measured": len(self.steps),
        }
