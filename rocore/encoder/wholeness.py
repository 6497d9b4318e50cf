"""Whether a pretrained encoder is whole and agrees with itself: checked at every load, before anything starts.

In this order: files (`rocore/encoder/encoder_files.py`), configuration, weights, tokenizer, and what a run asks of the
encoder. Only what is used must be there: embeddings and every layer that config.json counts. A pooler, heads and
buffers may be absent or too many. `rocore/encoder/source.py` calls all of it.
"""

from collections.abc import Collection, Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocore.encoder.encoder_files import CONFIG, TOKENIZER, no_tokenizer, some
from rocore.errors import EncoderError

if TYPE_CHECKING:
    from rocore.encoder.source import Encoder

SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
MAY_BE_ZERO = ("embeddings.token_type_embeddings.weight",)
"""The one matrix that encoders are trained without."""
SPECIAL = ("cls", "sep", "pad", "unk")


def check_config(config: Any, name: str) -> None:
    """Check that config.json describes an encoder, and one that is computed here as it asks.

    Raises:
        EncoderError: If it doesn't.
    """

    def refuse(rule: str, found: str) -> EncoderError:
        return EncoderError(
            f"{rule} must hold in {CONFIG} of encoder `{name}`, but {found}; take the file that came with the weights"
        )

    for key in SIZES:
        if getattr(config, key) < 1:
            raise refuse(f"`{key}` >= 1", f"it is {getattr(config, key)}")
    if config.hidden_size % config.num_attention_heads:
        raise refuse(
            "`hidden_size` a multiple of `num_attention_heads`",
            f"{config.hidden_size} isn't one of {config.num_attention_heads}",
        )
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise refuse(
            "`pad_token_id` below `vocab_size`", f"{config.pad_token_id} isn't below {config.vocab_size}"
        )
    _check_computed(config, name)


def _check_computed(config: Any, name: str) -> None:
    """Refuse what would change an encoder's numbers and is not computed here."""
    from transformers.activations import ACT2FN

    asked = {
        "is_decoder": getattr(config, "is_decoder", False),
        "add_cross_attention": getattr(config, "add_cross_attention", False),
        "quantization_config": getattr(config, "quantization_config", None),
        "position_embedding_type": getattr(config, "position_embedding_type", None) not in (None, "absolute"),
        "hidden_act": config.hidden_act not in ACT2FN,
    }
    for key, differs in asked.items():
        if differs:
            raise EncoderError(
                f"encoder `{name}` must be a plain one (no decoder, not quantized, absolute positions, a known "
                f"activation), but {CONFIG} says {key}: {getattr(config, key)}; use another encoder"
            )


def check_weights(model: Any, info: Mapping[str, Any], name: str) -> None:
    """Check that the weights filled the whole model, with finite numbers.

    Args:
        model: The encoder without a pooler.
        info: What the library says of the loading: missing, mismatched and unexpected keys.
        name: Of the encoder, for the error.

    Raises:
        EncoderError: If tensors are missing, have other shapes, aren't finite or, where they are matrices, are zero.
    """
    weights: dict[str, Any] = model.state_dict()
    missing = sorted(set(info["missing_keys"]) & weights.keys())
    differ = sorted(
        f"{key} is {tuple(found)} in the weights and {tuple(wanted)} by {CONFIG}"
        for key, found, wanted in info["mismatched_keys"]
    )
    if missing or differ:
        faults = []
        if missing:
            faults.append(f"{len(missing)} of {len(weights)} tensors are missing ({some(missing)})")
        if differ:
            faults.append(f"{len(differ)} of {len(weights)} have another shape ({some(differ)})")
        raise EncoderError(
            f"the weights of encoder `{name}` must fill what {CONFIG} describes, but {' and '.join(faults)}; "
            f"{_advice(missing, info['unexpected_keys'])}"
        )
    sums = {key: float(value.sum()) for key, value in weights.items()}
    # A sum is finite only if all that it adds up is, and read much faster than each number is looked at.
    strange = [
        key for key, total in sums.items() if not isfinite(total) and not weights[key].isfinite().all()
    ]
    if strange:
        raise EncoderError(
            f"the weights of encoder `{name}` must be finite numbers, but {len(strange)} of {len(weights)} tensors "
            f"hold others ({some(strange)}); take weights that are whole"
        )
    matrices = [key for key in weights if weights[key].dim() == 2 and key not in MAY_BE_ZERO]
    zero = [key for key in matrices if not sums[key] and not weights[key].any()]
    if zero:
        raise EncoderError(
            f"the weights of encoder `{name}` must have been learned, but {len(zero)} of {len(weights)} tensors are "
            f"zero throughout ({some(zero)}), as in a file that was never filled; fetch it again"
        )


def check_tokenizer(encoder: "Encoder", folder: Path | None) -> None:
    """Check that the tokenizer is a fast one, knows words, and that the embeddings have a row for each of its pieces.

    Args:
        encoder: The encoder.
        folder: Where its files lie; None where that isn't known.

    Raises:
        EncoderError: If the tokenizer isn't the encoder's own.
    """
    name, tokenizer, embeddings = encoder.name, encoder.tokenizer, encoder.model.embeddings.word_embeddings
    if not tokenizer.is_fast:
        raise EncoderError(
            f"encoder `{name}` must come with a fast tokenizer ({TOKENIZER}), but has only a slow one; use another"
        )
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if vocabulary.keys() <= set(tokenizer.all_special_tokens):
        files = " or ".join(tokenizer.vocab_files_names.values())
        raise no_tokenizer(name, f"its {type(tokenizer).__name__} found no word piece in {files}")
    _check_special(encoder, _written(tokenizer, vocabulary, folder))
    top = max(vocabulary.values())
    if top >= embeddings.num_embeddings:
        raise EncoderError(
            f"every word piece of encoder `{name}` must have an embedding, but its tokenizer numbers them up to {top} "
            f"and there are {embeddings.num_embeddings} embeddings; take tokenizer and weights of the same encoder"
        )
    if (
        encoder.architecture.counts_positions_from_padding
        and tokenizer.pad_token_id != embeddings.padding_idx
    ):
        raise EncoderError(
            f"the padding of encoder `{name}` must have one number, but it is {tokenizer.pad_token_id} in the "
            f"tokenizer and {embeddings.padding_idx} in the embeddings; take tokenizer and {CONFIG} of the same encoder"
        )


def _check_special(encoder: "Encoder", known: Collection[str]) -> None:
    """Check that the special pieces are known, and that sentences are put between two of them."""
    name, tokenizer = encoder.name, encoder.tokenizer
    absent = [special for special in SPECIAL if getattr(tokenizer, f"{special}_token") not in known]
    if absent:
        raise EncoderError(
            f"the tokenizer of encoder `{name}` must have a piece each for {', '.join(SPECIAL)}, but its vocabulary "
            f"lacks {', '.join(absent)}; take the tokenizer that came with the weights"
        )
    around = tokenizer("", add_special_tokens=True)["input_ids"]
    if list(around) != [tokenizer.cls_token_id, tokenizer.sep_token_id]:
        raise EncoderError(
            f"the tokenizer of encoder `{name}` must put a sentence between {tokenizer.cls_token} and "
            f"{tokenizer.sep_token}, but puts around it {tokenizer.convert_ids_to_tokens(around) or 'nothing'}; take "
            f"the {TOKENIZER} that came with the weights"
        )


def _written(tokenizer: Any, vocabulary: Mapping[str, int], folder: Path | None) -> Collection[str]:
    """Return the pieces that a file holds: what a vocabulary alone lacks, the library adds at its end by itself."""
    if folder is None or any((folder / file).is_file() for file in (TOKENIZER, "added_tokens.json")):
        return vocabulary
    pieces: dict[str, int] = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    return pieces


def check_use(encoder: "Encoder", output_layers: Iterable[int], max_pieces: int) -> None:
    """Check that the encoder has the layers that a run asks for, and positions for its longest sentence.

    Raises:
        EncoderError: If it hasn't.
    """
    for output_layer in output_layers:
        check_output_layer(encoder, output_layer)
    longest = encoder.architecture.num_positions(encoder.model)
    if max_pieces > longest:
        raise EncoderError(
            f"`encoder.max_pieces` must be at most {longest}, the positions of encoder `{encoder.name}`, but is "
            f"{max_pieces}; set it to {longest} or below"
        )


def check_output_layer(encoder: "Encoder", output_layer: int) -> None:
    """Check that layer r exists.

    Raises:
        EncoderError: If it doesn't.
    """
    if not 1 <= output_layer <= encoder.num_layers:
        raise EncoderError(
            f"`encoder.output_layer` must lie in 1..{encoder.num_layers} for {encoder.name}, but got {output_layer}; "
            f"the paper's layer 8 of 12 is about layer {max(1, round(encoder.num_layers * 8 / 12))} here"
        )


def _advice(missing: Collection[str], unexpected: Iterable[str]) -> str:
    """Say what to do: the weights may all be there, under longer names."""
    for key in sorted(unexpected):
        prefix = next((key.removesuffix(wanted) for wanted in missing if key.endswith(f".{wanted}")), None)
        if prefix is not None:
            return f"the file calls them `{prefix}NAME`: save the weights without that prefix"
    return f"take {CONFIG} and weights of the same encoder"
