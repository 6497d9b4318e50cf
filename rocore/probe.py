"""Which layer and pooling of an encoder holds relations best: a linear probe on known relations, without training.

A probe is a linear classifier on frozen features (Alain and Bengio 2016, arXiv 1610.01644). Nothing of the novel
relations is read, so that what it says may steer a search.

Shapes: N instances of C relations, n sentences of a batch with P tokens, H hidden size, K = len(PIECES).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from rocore.config import Config
from rocore.data.instance import LabeledData, Rows
from rocore.data.load import load_known
from rocore.data.tokenization import TokenizedSource, tokenize
from rocore.encoder.sentences import ragged_arange
from rocore.encoder.source import Encoder, load_for, num_layers
from rocore.encoder.trunk import layer_outputs, resolve_precision
from rocore.errors import ConfigError, DataError
from rocore.metrics import b_cubed
from rocore.progress import Advance, silent
from rocore.training.task import resolve_device

HELD_OUT = 0.2
"""Share of each relation's instances that the classifier is scored on."""
MIN_INSTANCES = 5
"""Of a relation: the fewest of which a fifth is one."""
MAX_ITERATIONS = 1000

PIECES = (
    "head max",
    "tail max",
    "head mean",
    "tail mean",
    "head first",
    "tail first",
    "sentence first",
    "between mean",
)
"""Vectors of a sentence, each (H,), that poolings are put together from."""
PAPER = "max, max"
"""Equations 2 and 3: the one pooling that is trained."""
POOLINGS: Mapping[str, tuple[str, ...]] = {
    PAPER: ("head max", "tail max"),
    "mean, mean": ("head mean", "tail mean"),
    "first, first": ("head first", "tail first"),
    "max, max, first token": ("head max", "tail max", "sentence first"),
    "max, max, between": ("head max", "tail max", "between mean"),
}
"""Name -> pieces, concatenated: of the head and of the tail, and the sentence's first token or the mean of the tokens
between the entities."""

Features = NDArray[np.float32]
Start = Callable[[str, int], Advance]


@dataclass(frozen=True)
class Score:
    """One representation.

    Attributes:
        layer: r, whose output was pooled.
        pooling: A name of `POOLINGS`.
        b3_f1: B-cubed F1 of the predictions on held-out instances, by seed.
        accuracy: Share of held-out instances that are predicted right, by seed.
    """

    layer: int
    pooling: str
    b3_f1: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of B-cubed F1."""
        return float(np.mean(self.b3_f1))


@dataclass(frozen=True)
class Probe:
    """What all representations of an encoder scored.

    Attributes:
        scores: By layer, then in the order of `POOLINGS`.
        num_relations: C.
        num_instances: Of each relation.
        left_out: Known relations that have fewer.
        seeds: Of the hold-outs.
        precision: `bf16` or `fp32`.
        synthetic: Whether the sentences were generated.
    """

    scores: tuple[Score, ...]
    num_relations: int
    num_instances: int
    left_out: tuple[str, ...]
    seeds: tuple[int, ...]
    precision: str
    synthetic: bool

    def best(self, pooling: str | None = None) -> Score:
        """Return the highest mean B-cubed F1, of one pooling or of all; the lower layer where two are equal."""
        return max((s for s in self.scores if pooling in (None, s.pooling)), key=lambda score: score.mean)


def probe_encoder(
    config: Config,
    layers: Sequence[int] | None = None,
    *,
    num_instances: int = 60,
    num_seeds: int = 3,
    progress: Start = silent,
) -> Probe:
    """Score layers and poolings of the pretrained encoder that a run names.

    `config.seed` draws the instances; the hold-outs are those of the seeds from it on. `encoder.output_layer` isn't
    looked at.

    Args:
        config: The run.
        layers: Layers r, from 1 on; None: all.
        num_instances: Of each known relation; one that has fewer is left out.
        num_seeds: Hold-outs.
        progress: Shows long work.

    Raises:
        ConfigError: If there is no such layer or device.
        DataError: If the known data can't be used, or fewer than 2 relations have enough instances.
        EncoderError: If the encoder can't be used.
    """
    chosen = _check_layers(layers, num_layers(config.encoder.name), config.encoder.name)
    device = resolve_device(config.train.device)
    precision = resolve_precision(config.encoder.precision, device)
    if config.train.num_threads is not None:
        torch.set_num_threads(config.train.num_threads)
    data = load_known(config.data)
    drawn, left_out = draw_instances(data, num_instances, config.seed)
    encoder = load_for(config.encoder, chosen)
    source = tokenize(data.source.of_rows(data.rows[drawn]), encoder.tokenizer, config.encoder.max_pieces)
    advance = progress("pretrained layers", len(source))
    features = compute_features(encoder, source, chosen, precision=precision, device=device, advance=advance)
    seeds = tuple(range(config.seed, config.seed + num_seeds))
    return Probe(
        scores=_score_all(features, data.labels[drawn], seeds, progress),
        num_relations=len(data.relations) - len(left_out),
        num_instances=num_instances,
        left_out=left_out,
        seeds=seeds,
        precision=precision,
        synthetic=data.synthetic,
    )


def draw_instances(data: LabeledData, num_instances: int, seed: int) -> tuple[Rows, tuple[str, ...]]:
    """Draw equally many instances of each known relation.

    Args:
        data: The known side.
        num_instances: Of each relation.
        seed: Of the drawing.

    Returns:
        (N,) positions within `data.rows`, by relation, and the names of relations that have too few.

    Raises:
        DataError: If fewer than 2 relations have enough.
    """
    rng = np.random.default_rng([seed, 0])
    by_relation = [np.flatnonzero(data.labels == label) for label in range(len(data.relations))]
    left_out = tuple(
        name for name, rows in zip(data.relations, by_relation, strict=True) if len(rows) < num_instances
    )
    if len(data.relations) - len(left_out) < 2:
        second = sorted(map(len, by_relation))[-2]
        remedy = f"ask for at most {second}" if second >= MIN_INSTANCES else "add labeled instances"
        raise DataError(
            f"at least 2 known relations must have {num_instances} instances to be probed, but "
            f"{len(data.relations) - len(left_out)} of {len(data.relations)} have; {remedy}"
        )
    drawn = [rng.permutation(rows)[:num_instances] for rows in by_relation if len(rows) >= num_instances]
    return np.concatenate(drawn), left_out


def compute_features(
    encoder: Encoder,
    source: TokenizedSource,
    layers: Sequence[int],
    *,
    precision: str,
    device: torch.device,
    advance: Advance,
) -> dict[int, Features]:
    """Return the pieces of each sentence at the output of each pretrained layer, (N, K, H), from one pass.

    Args:
        encoder: The pretrained encoder; left as it was.
        source: N sentences.
        layers: Layers r, from 1 on.
        precision: `bf16` or `fp32`, of products.
        device: Where to run.
        advance: Told the number of sentences done.

    Raises:
        EncoderError: If hidden states aren't finite.
    """
    shape = (len(source), len(PIECES), encoder.hidden_size)
    features = {r: np.empty(shape, np.float32) for r in layers}
    spans = source.spans
    lengths = np.diff(source.offsets)
    with layer_outputs(encoder, source, layers, precision=precision, device=device) as batches:
        for sentences, outputs in batches:
            for r, hidden in outputs:
                pieces = pool_pieces(hidden, lengths[sentences], spans[sentences])
                features[r][sentences] = pieces.cpu().numpy()
            advance(len(sentences))
    return features


def pool_pieces(hidden: Float[Tensor, "P H"], lengths: Rows, spans: Rows) -> Float[Tensor, "n K H"]:
    """Return the vectors of `PIECES` of each sentence.

    The tokens between the entities are those after the one that ends first and before the one that begins last; where
    there are none (entities that touch, overlap or are nested) their mean is 0.

    Args:
        hidden: Tokens of n sentences, one sentence after the other.
        lengths: (n,) tokens of each.
        spans: (n, 4) first and exclusive last token of head and tail, within the sentence.
    """
    starts, ends = spans[:, [0, 2]].T, spans[:, [1, 3]].T
    between = ends.min(0)
    where = {
        "head": (starts[0], ends[0] - starts[0]),
        "tail": (starts[1], ends[1] - starts[1]),
        "sentence": (np.zeros_like(lengths), lengths),
        "between": (between, np.maximum(starts.max(0) - between, 0)),
    }
    begins = np.cumsum(lengths) - lengths
    pieces = []
    for piece in PIECES:
        part, how = piece.split()
        first, count = where[part]
        pieces.append(_reduce(hidden, begins + first, np.minimum(count, 1) if how == "first" else count, how))
    return torch.stack(pieces, 1)


def _reduce(hidden: Tensor, first: Rows, counts: Rows, how: str) -> Float[Tensor, "n H"]:
    """Return the maximum or mean of `counts` tokens from each first one on; of none the mean is 0."""
    tokens = torch.from_numpy(np.repeat(first, counts) + ragged_arange(counts)).to(hidden.device)
    lengths = torch.from_numpy(counts).to(hidden.device)
    if how == "max":
        return torch.segment_reduce(hidden[tokens], "max", lengths=lengths)
    total = torch.segment_reduce(hidden[tokens], "sum", lengths=lengths)
    return total / lengths.clamp(min=1)[:, None]


def score_features(features: Features, labels: Rows, seed: int) -> tuple[float, float]:
    """Train a linear classifier on most instances and score it on the others.

    Multinomial logistic regression, min over W, b of |W|^2 / 2 - sum_i log softmax(W x_i + b)_(y_i), with x
    standardized by the mean and the standard deviation of what is trained on.

    Args:
        features: (N, D)
        labels: (N,) relation ids, equally many of each.
        seed: Of the hold-out: a fifth of each relation.

    Returns:
        B-cubed F1, with each predicted relation as a cluster, and accuracy.
    """
    is_test = _hold_out(labels, seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    classifier.fit(features[~is_test], labels[~is_test])
    predicted = classifier.predict(features[is_test])
    return b_cubed(labels[is_test], predicted)[2], float(np.mean(predicted == labels[is_test]))


def _score_all(
    features: Mapping[int, Features], labels: Rows, seeds: Sequence[int], progress: Start
) -> tuple[Score, ...]:
    advance = progress("linear classifiers", len(features) * len(POOLINGS) * len(seeds))
    scores = []
    for r, pieces in sorted(features.items()):
        for pooling, names in POOLINGS.items():
            columns = pieces[:, [PIECES.index(name) for name in names]].reshape(len(pieces), -1)
            pairs = []
            for seed in seeds:
                pairs.append(score_features(columns, labels, seed))
                advance(1)
            b3_f1, accuracy = zip(*pairs, strict=True)
            scores.append(Score(r, pooling, b3_f1, accuracy))
    return tuple(scores)


def _hold_out(labels: Rows, seed: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng([seed, 1])
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        is_test[rng.permutation(rows)[: round(HELD_OUT * len(rows))]] = True
    return is_test


def _check_layers(layers: Sequence[int] | None, available: int, name: str) -> tuple[int, ...]:
    chosen = tuple(range(1, available + 1)) if layers is None else tuple(sorted(set(layers)))
    wrong = [r for r in chosen if not 1 <= r <= available]
    if wrong or not chosen:
        raise ConfigError(
            f"layers to be probed must lie in 1..{available} for encoder `{name}`, but got "
            f"{', '.join(map(str, wrong)) or 'none'}; leave them out to probe all"
        )
    return chosen
