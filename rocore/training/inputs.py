"""What a run reads, checked as a whole: everything that is wrong with it is told at once."""

from dataclasses import dataclass

from rocore.config import Config
from rocore.data import load_data, make_splits, raise_errors, tokenize, validate
from rocore.data.instance import LoadedData, Splits
from rocore.data.problems import Problems
from rocore.data.validation import Finding
from rocore.encoder.source import Encoder, load_encoder
from rocore.encoder.wholeness import check_use


@dataclass(frozen=True)
class Inputs:
    """Data, splits and encoder of a run.

    Attributes:
        loaded: None where the data can't be read.
        splits: None where they can't be split.
        encoder: None where it can't be loaded.
        warnings: About the data.
        problems: Everything that a run can't begin with; where there is none, nothing above is None.
    """

    loaded: LoadedData | None
    splits: Splits | None
    encoder: Encoder | None
    warnings: tuple[str, ...]
    problems: Problems

    def cut_into_pieces(self, max_pieces: int) -> None:
        """Note the sentences that can't be cut into word pieces; a run finds them when it builds the frozen trunk."""
        if self.loaded is None or self.encoder is None:
            return
        for pool in self.loaded.corpus.pools:
            with self.problems:
                tokenize(pool, self.encoder.tokenizer, max_pieces)


def read_inputs(config: Config) -> Inputs:
    """Read and check what a run needs, but for its device and its frozen trunk, which may be another machine's.

    Raises:
        StorageError: If a store can't be reached. Whatever else is wrong is noted in `problems`.
    """
    problems = Problems(shown=None)
    loaded, splits, encoder = None, None, None
    findings: list[Finding] = []
    with problems:
        loaded = load_data(config.data)
    if loaded is not None:
        with problems:
            splits = make_splits(
                loaded.corpus, config.data, seed=config.seed, incremental=config.incremental.enabled
            )
        findings = validate(loaded, splits)
        with problems:
            raise_errors(findings)
    with problems:
        encoder = load_encoder(config.encoder.name)
        check_use(encoder, (config.encoder.output_layer,), config.encoder.max_pieces)
    warnings = tuple(finding.message for finding in findings if finding.severity == "warning")
    return Inputs(loaded, splits, encoder, warnings, problems)
