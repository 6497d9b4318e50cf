import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from rocore.config import EncoderConfig
from rocore.encoder.source import load_encoder, load_for, num_layers
from rocore.errors import EncoderError
from rocore.storage import Storage

from ..tiny import NUM_LAYERS, NUM_PIECES, save_encoder
from .damage import FAULTS, config, json_file, sharded, text, vocabulary_alone, weights, without

FAMILIES = ("bert", "roberta", "electra", "mpnet")
FROM_ELSEWHERE = ("prefix", "nan", "weights cut", "tokenizer pointer", "part cut")


@pytest.fixture(scope="module")
def whole_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Whole folders by architecture; tests copy them."""
    return cache(lambda model_type: save_encoder(tmp_path_factory.mktemp(model_type), model_type))


@pytest.fixture
def copy_of(whole_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy a whole folder for a test to damage."""
    return lambda model_type: Path(shutil.copytree(whole_of(model_type), tmp_path / model_type))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_load_whole_folder_of_any_form_is_taken(copy_of: Callable[[str], Path], model_type: str) -> None:
    """Whole: in parts; without a pooler; with heads, a buffer and layers too many; named as by a model with a head."""
    folder = copy_of(model_type)
    before = load_encoder(str(folder)).fingerprint

    def rename(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept = {f"{model_type}.{k}": v for k, v in tensors.items() if not k.startswith("pooler")}
        extra = f"{model_type}.encoder.layer.{NUM_LAYERS}.output.dense.weight"
        ids = {f"{model_type}.embeddings.position_ids": torch.arange(520)[None]}
        return kept | ids | {"cls.predictions.bias": torch.ones(NUM_PIECES), extra: torch.ones(32, 48)}

    weights(rename)(folder)
    sharded(lambda parts, _: parts)(folder)
    assert load_encoder(str(folder)).fingerprint == before


@pytest.mark.parametrize("fault", FAULTS)
def test_load_folder_that_is_not_whole_is_refused(copy_of: Callable[[str], Path], fault: str) -> None:
    model_type, damage, match = FAULTS[fault]
    folder = copy_of(model_type)
    damage(folder)
    with pytest.raises(EncoderError, match=match) as caught:
        load_encoder(str(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_load_folder_without_tokenizer_is_refused(copy_of: Callable[[str], Path], model_type: str) -> None:
    """The library makes one up that knows special pieces alone, so that every word is unknown."""
    folder = copy_of(model_type)
    without("tokenizer.json", "tokenizer_config.json")(folder)
    with pytest.raises(
        EncoderError, match=r"must hold a tokenizer \(tokenizer\.json, vocab\.txt, .*, but has none"
    ):
        load_encoder(str(folder))


def test_load_folder_with_half_a_tokenizer_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("roberta")
    without("tokenizer.json", "tokenizer_config.json")(folder)
    text("vocab.json", json.dumps({"<s>": 0}))(folder)
    with pytest.raises(EncoderError, match=r"must hold a tokenizer .*, but has only vocab\.json"):
        load_encoder(str(folder))


def test_load_folder_with_the_vocabulary_of_another_family_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("roberta")
    without("tokenizer.json", "tokenizer_config.json")(folder)
    text("vocab.txt", "[UNK]\na\n")(folder)
    with pytest.raises(
        EncoderError, match=r"RobertaTokenizer found no word piece in vocab\.json or merges\.txt"
    ):
        load_encoder(str(folder))


@pytest.mark.parametrize("model_type", ["bert", "electra"])
def test_load_folder_with_a_vocabulary_alone_is_taken(
    copy_of: Callable[[str], Path], model_type: str
) -> None:
    folder = copy_of(model_type)
    vocabulary_alone()(folder)
    assert load_encoder(str(folder)).tokenizer("ab")["input_ids"] == [2, 5, 32, 3]


@pytest.mark.parametrize("special", ["cls", "sep", "pad", "unk"])
def test_load_vocabulary_without_a_special_piece_is_refused(
    copy_of: Callable[[str], Path], special: str
) -> None:
    """The library adds it at the end, where an embedding that was never trained may stand."""
    folder = copy_of("bert")
    vocabulary_alone(lambda pieces: [piece for piece in pieces if piece != f"[{special.upper()}]"])(folder)
    with pytest.raises(
        EncoderError, match=rf"a piece each for cls, sep, pad, unk, but its vocabulary lacks {special};"
    ):
        load_encoder(str(folder))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_load_tokenizer_with_more_pieces_than_embeddings_is_refused(
    copy_of: Callable[[str], Path], model_type: str
) -> None:
    folder = copy_of(model_type)
    tokenizer = load_encoder(str(folder)).tokenizer
    tokenizer.add_tokens([f"new{number}" for number in range(NUM_PIECES + 1 - len(tokenizer))])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        EncoderError, match=rf"numbers them up to {NUM_PIECES} and there are {NUM_PIECES} embeddings"
    ):
        load_encoder(str(folder))


@pytest.mark.parametrize("model_type", ["roberta", "mpnet"])
def test_load_tokenizer_with_another_padding_is_refused(
    copy_of: Callable[[str], Path], model_type: str
) -> None:
    """These count positions from the padding's number: another one shifts them, and takes a word for padding."""
    folder = copy_of(model_type)
    json_file("tokenizer_config.json", pad_token="<mask>")(folder)
    with pytest.raises(
        EncoderError, match=r"one number, but it is 4 in the tokenizer and 1 in the embeddings"
    ):
        load_encoder(str(folder))


def test_load_tokenizer_that_puts_nothing_around_a_sentence_is_refused(
    copy_of: Callable[[str], Path],
) -> None:
    folder = copy_of("bert")
    json_file("tokenizer.json", post_processor=None)(folder)
    json_file("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")(folder)
    with pytest.raises(
        EncoderError, match=r"between \[CLS\] and \[SEP\], but puts around it nothing; take the tok"
    ):
        load_encoder(str(folder))


def test_load_tokenizer_without_a_fast_form_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("bert")
    vocabulary_alone()(folder)
    text("tokenizer_config.json", '{"tokenizer_class": "BertJapaneseTokenizer"}')(folder)
    with pytest.raises(
        EncoderError, match=r"must come with a fast tokenizer \(tokenizer\.json\), but has only a slow"
    ):
        load_encoder(str(folder))


@pytest.mark.parametrize(
    ("model_type", "num_positions"), [("bert", 30), ("roberta", 28), ("electra", 30), ("mpnet", 28)]
)
def test_load_for_a_run_checks_positions_by_architecture(
    copy_of: Callable[[str], Path], model_type: str, num_positions: int
) -> None:
    """The limit is what the library's own embeddings take: one piece more is beyond their table."""
    folder = copy_of(model_type)
    config(max_position_embeddings=30)(folder)
    key = "embeddings.position_embeddings.weight"
    weights(lambda tensors: tensors | {key: tensors[key][:30].contiguous()})(folder)
    settings = EncoderConfig(name=str(folder), output_layer=2, max_pieces=num_positions)
    model = load_for(settings).model
    model(torch.full((1, num_positions), 7))
    with pytest.raises(
        (IndexError, RuntimeError), match=r"out of (range|bounds)|must match the size|expanded size"
    ):
        model(torch.full((1, num_positions + 1), 7))
    longer = settings.model_copy(update={"max_pieces": num_positions + 1})
    with pytest.raises(
        EncoderError,
        match=rf"`encoder.max_pieces` must be at most {num_positions}, the positions of .*, but is {num_positions + 1}",
    ):
        load_for(longer)


@pytest.mark.parametrize("layers", [(NUM_LAYERS + 1,), (1, NUM_LAYERS + 2)])
def test_load_for_a_run_checks_every_output_layer(
    whole_of: Callable[[str], Path], layers: tuple[int, ...]
) -> None:
    settings = EncoderConfig(name=str(whole_of("bert")), output_layer=1)
    with pytest.raises(EncoderError, match=rf"must lie in 1\.\.{NUM_LAYERS} for .*, but got {layers[-1]}"):
        load_for(settings, layers)


@pytest.mark.parametrize("fault", ["config empty", "heads", "no layers", "decoder"])
def test_num_layers_of_a_bad_configuration_is_refused(copy_of: Callable[[str], Path], fault: str) -> None:
    """A sweep asks for it before it reads any weight."""
    model_type, damage, match = FAULTS[fault]
    folder = copy_of(model_type)
    damage(folder)
    with pytest.raises(EncoderError, match=match):
        num_layers(str(folder))


@pytest.mark.parametrize("fault", FROM_ELSEWHERE)
def test_load_url_that_is_not_whole_is_refused_by_its_url(
    copy_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "cache"))
    model_type, damage, match = FAULTS[fault]
    folder = copy_of(model_type)
    damage(folder)
    url = f"file://{tmp_path}/store"
    Storage.at(url).push(folder)
    with pytest.raises(EncoderError, match=match) as caught:
        load_encoder(url)
    assert f"`{url}`" in str(caught.value)


@pytest.fixture
def to_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Put a folder where the hub's client keeps what it has fetched, and return its name; the hub itself is away."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(folder: Path) -> str:
        root, commit = tmp_path / "hub" / "models--somebody--encoder", "0" * 40
        (root / "refs").mkdir(parents=True)
        (root / "refs" / "main").write_text(commit)
        shutil.copytree(folder, root / "snapshots" / commit)
        return "somebody/encoder"

    return put


def test_load_hub_name_is_the_same_encoder(
    whole_of: Callable[[str], Path], to_hub: Callable[[Path], str]
) -> None:
    folder = whole_of("mpnet")
    assert load_encoder(to_hub(folder)).fingerprint == load_encoder(str(folder)).fingerprint


@pytest.mark.parametrize("fault", [*FROM_ELSEWHERE, "integers", "config no JSON"])
def test_load_hub_name_that_is_not_whole_is_refused(
    copy_of: Callable[[str], Path], to_hub: Callable[[Path], str], fault: str
) -> None:
    model_type, damage, match = FAULTS[fault]
    folder = copy_of(model_type)
    damage(folder)
    with pytest.raises(EncoderError, match=match) as caught:
        load_encoder(to_hub(folder))
    assert "`somebody/encoder`" in str(caught.value)


def test_load_hub_name_that_was_fetched_in_part_says_that_the_hub_is_away(
    copy_of: Callable[[str], Path], to_hub: Callable[[Path], str]
) -> None:
    folder = copy_of("bert")
    without("model.safetensors")(folder)
    with pytest.raises(EncoderError, match=r"or a reachable hub name, but loading it failed"):
        load_encoder(to_hub(folder))
