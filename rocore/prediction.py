"""A trained run applied to new sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rocore.config import Config
from rocore.data.instance import Sentence, Source
from rocore.data.tokenization import TokenizedSource, tokenize
from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.source import Encoder, load_for
from rocore.encoder.tokens import TokenBank, TokenStore
from rocore.encoder.trunk import hidden_states, resolve_precision
from rocore.errors import CheckpointError, UnreadableError
from rocore.model import RoCORE
from rocore.run_directory import RunDirectory
from rocore.training.state import MODEL, load_state
from rocore.training.task import resolve_device

CHUNK = 1024


@dataclass(frozen=True)
class SentencePrediction:
    """What a sentence's entity pair was given to: a cluster of novel relations, or a known relation by name.

    In standard mode every sentence is taken to be novel (14); in incremental mode the unified classifier chooses.
    """

    cluster: int | None
    relation: str | None
    probability: float


@dataclass(frozen=True)
class Predictor:
    """A trained model with its encoder; predicts in chunks of 1,024 sentences."""

    config: Config
    encoder: Encoder
    model: RoCORE
    known_relations: tuple[str, ...]
    precision: str
    device: torch.device

    def predict(
        self, sentences: Sequence[Sentence], places: Sequence[str] = ()
    ) -> Iterator[SentencePrediction]:
        """Yield a prediction for each sentence, in order.

        Args:
            sentences: New ones.
            places: Where each stands, for messages. Empty: its position.

        Raises:
            DataError: Before the first prediction, if an entity has no word piece.
        """
        source = Source(tuple(sentences), "sentence", tuple(places))
        tokenized = tokenize(source, self.encoder.tokenizer, self.config.encoder.max_pieces)
        for start in range(0, len(sentences), CHUNK):
            yield from self._predict_chunk(tokenized.part(start, start + CHUNK))

    @torch.inference_mode()
    def _predict_chunk(self, source: TokenizedSource) -> Iterator[SentencePrediction]:
        r = self.config.encoder.output_layer
        hidden = hidden_states(self.encoder, source, r, precision=self.precision, device=self.device)
        bank = TokenBank([TokenStore(hidden, source.offsets, source.spans)], self.device)
        h = self.model.entity_pair_repr(bank.batch(np.arange(len(source))))
        classifier = self.model.unified_classifier if self.model.incremental else self.model.novel_classifier
        probabilities, classes = classifier(h).softmax(1).max(1)
        return iter([self._name(c, p) for c, p in zip(classes.tolist(), probabilities.tolist(), strict=True)])

    def _name(self, chosen: int, probability: float) -> SentencePrediction:
        if not self.model.incremental:
            return SentencePrediction(chosen, None, probability)
        if chosen < len(self.known_relations):
            return SentencePrediction(None, self.known_relations[chosen], probability)
        return SentencePrediction(chosen - len(self.known_relations), None, probability)


def load_predictor(
    folder: Path, device: str = "auto", overrides: Mapping[str, Any] | None = None
) -> Predictor:
    """Load the newest whole checkpoint of a run directory.

    Args:
        folder: The run directory.
        device: As `train.device`; the run's own isn't looked at.
        overrides: As of `RunDirectory.load_config`: its encoder may have moved.

    Raises:
        CheckpointError: If the folder is no run directory or holds no whole checkpoint.
        EncoderError: If the encoder can't be found any more, or isn't whole.
    """
    directory = RunDirectory(folder)
    config, run = directory.load_config(overrides), directory.read_run()
    weights = _newest_weights(directory)
    encoder = load_for(config.encoder)
    if encoder.fingerprint != run["fingerprints"]["encoder"]:
        raise CheckpointError(
            f"the encoder must be the one that {folder} was trained with, "
            f"but `{config.encoder.name}` has other weights now"
        )
    where = resolve_device(device)
    precision = resolve_precision(run["precision"], where)
    model = RoCORE(
        OutputLayer(encoder, config.encoder.output_layer, config.train.dropout),
        config.model,
        num_known_relations=len(run["known_relations"]),
        num_novel_relations=run["num_novel_relations"],
        incremental=config.incremental.enabled,
        precision=precision,
    )
    model.load_state_dict(weights)
    return Predictor(config, encoder, model.to(where).eval(), tuple(run["known_relations"]), precision, where)


def _newest_weights(directory: RunDirectory) -> dict[str, Any]:
    for folder in reversed(directory.checkpoint_folders()):
        try:
            return load_state(folder)[0][MODEL]
        except UnreadableError:
            raise
        except CheckpointError:
            continue
    raise CheckpointError(
        f"{directory.folder} must hold a whole checkpoint, but holds none; train it with `rocore train`"
    )
