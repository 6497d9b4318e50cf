from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rocore.data.instance import Sentence, Source
from rocore.encoder import trunk
from rocore.encoder.cache import TrunkCache
from rocore.encoder.source import Encoder
from rocore.encoder.trunk import batches_by_length, hidden_states, layer_outputs, resolve_precision, run_trunk
from rocore.errors import ConfigError, EncoderError

from ..tiny import CPU, NUM_LAYERS, NUM_PIECES, SENTENCES, encoder_of, relative_error, source_of

ARCHITECTURES = ("bert", "roberta", "electra", "mpnet")


def word_tokenizer() -> Any:
    """A fast tokenizer of words w0, w1, ... by their numbers."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(1, NUM_PIECES)} | {"[PAD]": 0}
    backend = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")


def write(
    encoder: Encoder, folder: Path, output_layers: tuple[int, ...], precision: str = "fp32", seed: int = 0
) -> dict[int, Tensor]:
    source, steps = source_of(seed=seed), []
    folder.mkdir(exist_ok=True)
    files = {r: folder / f"{r}.bin" for r in output_layers}
    run_trunk(encoder, source, files, precision=precision, device=CPU, advance=steps.append)
    assert sum(steps) == len(source)
    dtype = trunk.DTYPES[precision]
    size = int(source.offsets[-1]) * encoder.hidden_size
    return {
        r: torch.from_file(str(file), size=size, dtype=dtype).view(-1, encoder.hidden_size)
        for r, file in files.items()
    }


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_run_trunk_several_layers_in_one_pass_equal_single_passes(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, model_type: str
) -> None:
    encoder, layers = tiny_encoder(model_type), tuple(range(1, NUM_LAYERS + 1))
    together = write(encoder, tmp_path / "together", layers)
    for r in layers:
        alone = write(encoder, tmp_path / "alone", (r,))[r]
        assert torch.equal(together[r], alone)
        assert torch.equal(alone, hidden_states(encoder, source_of(), r, precision="fp32", device=CPU))
    assert not torch.equal(together[1], together[2])


def test_layer_outputs_of_several_layers_embed_each_batch_once(
    tiny_encoder: Callable[[str], Encoder],
) -> None:
    encoder, source, embedded = tiny_encoder("bert"), source_of(), []
    hook = encoder.model.embeddings.register_forward_hook(lambda *_: embedded.append(1))
    layers, sentences, num_batches = tuple(range(1, NUM_LAYERS + 1)), [], 0
    with layer_outputs(encoder, source, layers, precision="fp32", device=CPU) as batches:
        for numbers, outputs in batches:
            sentences += numbers.tolist()
            num_batches += 1
            num_tokens = int(np.diff(source.offsets)[numbers].sum())
            assert [(r, tuple(hidden.shape)) for r, hidden in outputs] == [
                (r, (num_tokens, 32)) for r in layers
            ]
    hook.remove()
    assert len(embedded) == num_batches
    assert sorted(sentences) == list(range(len(source)))


def test_run_trunk_of_weights_that_are_finite_but_too_large_is_refused(tmp_path: Path) -> None:
    encoder = encoder_of("bert")
    encoder.model.encoder.layer[1].output.dense.weight.fill_(3e38)
    with pytest.raises(
        EncoderError, match=r"`tiny bert` must be finite numbers, but aren't below layer 3: its weights"
    ):
        write(encoder, tmp_path, (2, 3))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_run_trunk_each_sentence_equals_the_whole_encoder_on_it_alone(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, model_type: str
) -> None:
    """Neither padding nor the other sentences of a batch change a sentence."""
    encoder, source = tiny_encoder(model_type), source_of()
    stored = write(encoder, tmp_path, (2, NUM_LAYERS))
    for start, end in zip(source.offsets[:-1], source.offsets[1:], strict=True):
        pieces = torch.from_numpy(source.piece_ids[start:end]).long()[None]
        with torch.no_grad():
            expected = encoder.model(input_ids=pieces, output_hidden_states=True).hidden_states
        for r, hidden in stored.items():
            assert relative_error(hidden[start:end], expected[r - 1][0]) < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cache_entry_holds_the_trunk_of_the_sentences_own_pieces(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, precision: str
) -> None:
    """Text to pieces, spans and hidden states, by hand: word wN is piece N."""
    tiny, told = tiny_encoder("bert"), []
    encoder = Encoder(tiny.name, tiny.model, word_tokenizer(), tiny.architecture)
    sentences = (
        Sentence("w7 w8 w9 w50", (0, 2), (6, 8)),
        Sentence("w20 w21", (4, 7), (0, 3)),
        Sentence("w30 w31 w32 w33 w34 w35 w36", (0, 7), (16, 27)),
    )
    store = TrunkCache(tmp_path).get(
        Source(sentences, "pool.jsonl"),
        encoder,
        output_layers=(2,),
        precision=precision,
        max_pieces=16,
        device=CPU,
        progress=lambda title, total: told.append((title, total)) or told.append,
    )[2]
    assert told == [("frozen trunk of pool.jsonl", 3), 3]
    assert store.spans.tolist() == [[0, 1, 2, 3], [1, 2, 0, 1], [0, 2, 4, 7]]
    pieces = np.array([7, 8, 9, 50, 20, 21, *range(30, 37)], dtype=np.int32)
    source = replace(
        source_of([(4, (0, 1), (0, 1)), (2, (0, 1), (0, 1)), (7, (0, 1), (0, 1))]), piece_ids=pieces
    )
    assert store.offsets.tolist() == source.offsets.tolist()
    assert torch.equal(store.hidden, hidden_states(tiny, source, 2, precision=precision, device=CPU))


def test_run_trunk_small_batches_give_the_same(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder("roberta")
    large = write(encoder, tmp_path / "large", (3,))[3]
    monkeypatch.setitem(trunk.TOKENS_PER_BATCH, "cpu", 20)
    assert relative_error(write(encoder, tmp_path / "small", (3,))[3], large) < 1e-5


def test_run_trunk_bf16_lies_within_bound(tiny_encoder: Callable[[str], Encoder], tmp_path: Path) -> None:
    """Within 3 percent of the root mean square: eight bits of mantissa through two layers."""
    encoder = tiny_encoder("bert")
    full = write(encoder, tmp_path / "fp32", (3,))[3]
    half = write(encoder, tmp_path / "bf16", (3,), "bf16")[3]
    assert half.dtype == torch.bfloat16
    assert float((half.float() - full).norm() / full.norm()) < 0.03


@pytest.mark.parametrize("output_layer", [1, 2, NUM_LAYERS])
def test_run_trunk_leaves_the_encoder_as_it_was(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, output_layer: int
) -> None:
    encoder = tiny_encoder("bert")
    layers, keys = list(encoder.model.encoder.layer), set(encoder.model.state_dict())
    write(encoder, tmp_path, (output_layer,))
    assert list(encoder.model.encoder.layer) == layers
    assert set(encoder.model.state_dict()) == keys


def test_run_trunk_interrupted_leaves_the_encoder_whole(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    encoder, source = tiny_encoder("bert"), source_of()

    def stop(_steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trunk(encoder, source, {2: tmp_path / "2"}, precision="fp32", device=CPU, advance=stop)
    assert len(encoder.model.encoder.layer) == NUM_LAYERS


def test_run_trunk_never_touches_layers_from_r_on(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    encoder = tiny_encoder("bert")
    whole = write(encoder, tmp_path / "whole", (1, 2))
    model = deepcopy(encoder.model)
    for r in range(2, NUM_LAYERS + 1):
        model.encoder.layer[r - 1] = torch.nn.Identity()
    for r, hidden in write(replace(encoder, model=model), tmp_path / "without", (1, 2)).items():
        assert torch.equal(hidden, whole[r])


@pytest.mark.parametrize("budget", [1, 10, 64, 10_000])
def test_batches_by_length_cover_every_sentence_once_within_budget(budget: int) -> None:
    lengths = np.array([length for length, _, _ in SENTENCES] * 3)
    batches = list(batches_by_length(lengths, budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or int(lengths[batch].max()) * len(batch) <= budget


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_resolve_precision_given_is_kept(precision: str) -> None:
    assert resolve_precision(precision, CPU) == precision


@pytest.mark.parametrize("native", [False, True])
def test_resolve_precision_of_a_gpu_follows_what_it_multiplies_itself(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr("torch.cuda.is_bf16_supported", is_supported)
    cuda = torch.device("cuda")
    assert resolve_precision("auto", cuda) == ("bf16" if native else "fp32")
    assert resolve_precision("fp32", cuda) == "fp32"
    if native:
        assert resolve_precision("bf16", cuda) == "bf16"
    else:
        with pytest.raises(ConfigError, match=r"compute capability 8\.0 or above, but cuda is older"):
            resolve_precision("bf16", cuda)


def test_resolve_precision_auto_is_one_of_both() -> None:
    assert resolve_precision("auto", CPU) in trunk.DTYPES
