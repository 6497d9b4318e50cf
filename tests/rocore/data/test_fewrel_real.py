"""Facts about the real FewRel files, wherever they are."""

import os
from pathlib import Path

import numpy as np
import pytest

from rocore.config import DataConfig
from rocore.data.describe import describe
from rocore.data.load import load_data
from rocore.data.splits import make_splits
from rocore.data.tokenization import tokenize
from rocore.data.validation import raise_errors, validate

FOLDER = Path(os.environ.get("ROCORE_FEWREL") or Path(__file__).parents[3] / "../shared/data/fewrel_full")


@pytest.fixture(scope="module")
def config():
    names = ("train_wiki.json", "val_wiki.json")
    absent = [name for name in names if not (FOLDER / name).is_file()]
    if absent:
        pytest.skip(f"real FewRel: {', '.join(absent)} isn't in {FOLDER}; set ROCORE_FEWREL to the folder")
    return DataConfig(format="fewrel", root=str(FOLDER), known=names[0], novel=names[1])


@pytest.fixture(scope="module")
def loaded(config):
    return load_data(config)


def test_real_fewrel_has_the_known_counts(loaded):
    known, novel = describe(loaded)
    assert (known.num_instances, len(known.relations)) == (64 * 700, 64)
    assert known.num_duplicates <= 24  # so many in a lower-cased copy
    assert (novel.num_instances, len(novel.relations), novel.num_duplicates) == (16 * 700, 16, 1)
    assert {*known.relations.values(), *novel.relations.values()} == {700}


@pytest.mark.parametrize("incremental", [True, False])
def test_real_fewrel_splits_as_the_paper_and_validates(config, loaded, incremental):
    splits = make_splits(loaded.corpus, config, seed=0, incremental=incremental)
    assert (len(splits.novel_train), len(splits.novel_test)) == (9600, 1600)
    raise_errors(validate(loaded, splits))


def test_real_fewrel_every_entity_has_pieces_that_read_like_it(loaded, minilm_tokenizer):
    source = loaded.corpus.novel
    tokenized = tokenize(source, minilm_tokenizer, 40)
    assert tokenized.num_windowed > 0
    assert np.diff(tokenized.offsets).max() == 40
    for row in range(0, len(source.sentences), 50):
        ids = tokenized.piece_ids[tokenized.offsets[row] :]
        found = minilm_tokenizer.convert_ids_to_tokens(
            ids[tokenized.head_start[row] : tokenized.head_end[row]].tolist()
        )
        text = source.sentences[row].text[slice(*source.sentences[row].head)]
        expected = minilm_tokenizer.backend_tokenizer.normalizer.normalize_str(text)
        if "[UNK]" not in found:
            assert "".join(found).replace("##", "") == "".join(expected.split())
