import json

import pytest
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from rocore.config import make_config
from rocore.data.load import load_data
from rocore.downloads import fetch_folder
from rocore.encoder.source import load_encoder
from rocore.errors import EncoderError, StorageAwayError, StorageError
from rocore.storage import Storage


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/store"


def lines(relations, num=3):
    row = {"tokens": ["a", "b", "c"], "head": [0, 1], "tail": [2, 3]}
    return "".join(
        json.dumps({**row, "tokens": [f"a{r}{i}", "b", "c"], "relation": f"r{r}"}) + "\n"
        for r in relations
        for i in range(num)
    )


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "known.jsonl").write_text(lines([1, 2]))
    (folder / "novel.jsonl").write_text(lines([3, 4]))
    return folder


def load(url):
    return load_data(
        make_config(
            {"data": {"format": "jsonl", "root": url, "known": "known.jsonl", "novel": "novel.jsonl"}}
        ).data
    )


def test_data_root_by_url_is_the_same_data(data, url):
    Storage.at(url).push(data)
    assert load(url).corpus.files == load(str(data)).corpus.files
    assert load(url).corpus.known_relations == ("r1", "r2")


def test_data_root_by_url_that_changed_is_fetched_again(data, url):
    Storage.at(url).push(data)
    load(url)
    (data / "known.jsonl").write_text(lines([1, 2, 5]))
    Storage.at(url).push(data)
    assert load(url).corpus.known_relations == ("r1", "r2", "r5")


def test_data_that_somebody_else_uploaded_is_taken_with_a_warning(data, url, caplog):
    for path in data.iterdir():
        Storage.at(url).upload(path, path.name)
    assert load(url).corpus.num_known_relations == 2
    assert "its files aren't checked" in caplog.text


def test_data_root_by_url_brings_only_the_files_that_are_named(data, url):
    (data / "large.bin").write_text("of no use")
    Storage.at(url).push(data)
    load(url)
    assert {path.name for path in fetch_folder(url, lambda name: name == "known.jsonl").iterdir()} == {
        "known.jsonl",
        "novel.jsonl",
    }


@pytest.mark.parametrize("name", ["*nown.jsonl", "**/known.jsonl"])
def test_data_files_by_url_may_be_named_by_a_glob(data, url, name):
    Storage.at(url).push(data)
    keys = {"format": "jsonl", "root": url, "known": name, "novel": "novel.jsonl"}
    assert load_data(make_config({"data": keys}).data).corpus.num_known_relations == 2


@pytest.fixture
def away(monkeypatch):
    """Return a function that takes every store away."""

    def take_away():
        def ask(self, what, action):
            raise StorageAwayError("it is away")

        monkeypatch.setattr(Storage, "_ask", ask)

    return take_away


def test_data_whose_store_is_away_comes_from_the_copy(data, url, away, caplog):
    Storage.at(url).push(data)
    before = load(url).corpus.files
    away()
    assert load(url).corpus.files == before
    assert "it is away; the copy of it on this machine is used" in caplog.text


def test_data_whose_store_is_away_and_whose_copy_is_not_what_was_checked_is_an_error(data, url, away):
    Storage.at(url).push(data)
    load(url)
    (fetch_folder(url) / "known.jsonl").write_text("torn")
    away()
    with pytest.raises(StorageAwayError, match="it is away"):
        load(url)


def test_data_that_was_never_checked_is_an_error_where_its_store_is_away(data, url, away):
    for path in data.iterdir():
        Storage.at(url).upload(path, path.name)
    load(url)
    away()
    with pytest.raises(StorageAwayError, match="it is away"):
        load(url)


def test_data_that_somebody_else_uploaded_anew_is_fetched_again(data, url):
    for path in data.iterdir():
        Storage.at(url).upload(path, path.name)
    load(url)
    (data / "known.jsonl").write_text(lines([1, 7]))
    Storage.at(url).upload(data / "known.jsonl", "known.jsonl")
    assert load(url).corpus.known_relations == ("r1", "r7")


@pytest.mark.parametrize("put", [[], ["other.jsonl"]])
def test_fetch_folder_of_nothing_wanted_says_what_is_there(url, put):
    for name in put:
        Storage.at(url).write(name, b"1")
    with pytest.raises(
        StorageError, match=rf"but holds {', '.join(put) or 'none'}; correct .*rocore data push"
    ):
        fetch_folder(url, lambda name: name == "known.jsonl")


def test_data_root_on_an_object_store_is_read(data, bucket):
    Storage.at(f"{bucket}/fewrel").push(data)
    assert load(f"{bucket}/fewrel").corpus.num_novel_relations == 2


@pytest.fixture
def encoder(tmp_path, minilm):
    """A folder with a random BERT, and weights that could run code beside them."""
    folder = tmp_path / "encoder"
    config = BertConfig(
        vocab_size=len(minilm.tokenizer),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(folder)
    minilm.tokenizer.save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"whatever")
    return folder


def test_encoder_by_url_is_the_same_encoder_and_brings_no_pickle(encoder, url):
    Storage.at(url).push(encoder)
    assert load_encoder(url).fingerprint == load_encoder(str(encoder)).fingerprint
    assert not list(fetch_folder(url, lambda name: name == "config.json").glob("*.bin"))


def test_encoder_whose_weights_could_run_code_is_refused(encoder):
    (encoder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="must hold its weights as safetensors, which can't run code"):
        load_encoder(str(encoder))


def test_encoder_with_safetensors_never_reads_a_pickle(encoder):
    weights = {"never": BertModel(BertConfig()).embeddings.LayerNorm.weight.detach()}
    save_file(weights, encoder / "other.safetensors")
    (encoder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="must hold its weights as safetensors"):
        load_encoder(str(encoder))
