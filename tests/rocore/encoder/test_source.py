import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rocore.encoder import source
from rocore.encoder.architecture import ARCHITECTURES, architecture_of
from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.source import Encoder, load_encoder, locate, num_layers
from rocore.errors import EncoderError

from ..tiny import NUM_LAYERS, encoder_of, save_encoder


def unsupported(name: str) -> Any:
    import transformers

    small = {"GPT2Config": {"n_layer": 1, "n_embd": 8, "n_head": 2}, "DistilBertConfig": {"n_layers": 1}}
    return getattr(transformers, name)(**small[name])


@pytest.mark.parametrize(("name", "model_type"), [("GPT2Config", "gpt2"), ("DistilBertConfig", "distilbert")])
@pytest.mark.parametrize("load", [load_encoder, num_layers])
def test_load_unsupported_architecture_is_refused_with_the_list(
    tmp_path: Path, load: Callable[[str], object], name: str, model_type: str
) -> None:
    unsupported(name).save_pretrained(tmp_path)
    with pytest.raises(
        EncoderError, match=rf"must be one of bert, roberta, electra, mpnet, but is '{model_type}'"
    ):
        load(str(tmp_path))


@pytest.mark.parametrize("load", [load_encoder, num_layers, locate])
def test_load_absent_folder_is_refused(tmp_path: Path, load: Callable[[str], object]) -> None:
    with pytest.raises(EncoderError, match=r"encoder folder must exist, but .*absent doesn't; give a folder"):
        load(str(tmp_path / "absent"))


@pytest.mark.parametrize("load", [load_encoder, num_layers, locate])
def test_load_folder_without_encoder_is_refused(tmp_path: Path, load: Callable[[str], object]) -> None:
    with pytest.raises(EncoderError, match=r"must hold config.json.*has no config.json"):
        load(str(tmp_path))


@pytest.mark.parametrize("load", [load_encoder, num_layers])
def test_load_config_that_is_no_json_is_refused(tmp_path: Path, load: Callable[[str], object]) -> None:
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(EncoderError, match=r"encoder `.*`"):
        load(str(tmp_path))


def test_load_folder_without_weights_is_refused(tmp_path: Path) -> None:
    encoder_of("bert").model.config.save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"must hold its weights as safetensors.* has neither"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("load", [load_encoder, num_layers])
def test_load_folder_that_brings_its_own_code_never_runs_it(
    tmp_path: Path, load: Callable[[str], object]
) -> None:
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Config: pass\n")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="custom code"):
        load(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_load_name_that_the_hub_does_not_give_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"encoder `no-such-user/no-such-encoder` must be .* \(minilm\)"):
        load_encoder("no-such-user/no-such-encoder")
    with pytest.raises(EncoderError, match=r"encoder `no-such-user/no-such-encoder` must be .* \(minilm\)"):
        num_layers("no-such-user/no-such-encoder")


def test_locate_alias_whose_package_is_absent_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(source.ALIASES, "minilm", ("no_such_package", "model"))
    with pytest.raises(EncoderError, match=r"package no_such_package.*pip install no-such-package"):
        locate("minilm")


def test_locate_hub_name_is_kept() -> None:
    assert locate("bert-base-uncased") == "bert-base-uncased"


def test_locate_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/mine") == str(tmp_path / "mine")


def test_load_minilm_is_frozen_fp32_without_pooler(minilm: Encoder) -> None:
    assert (minilm.num_layers, minilm.hidden_size, num_layers("minilm")) == (6, 384, 6)
    assert minilm.architecture.model_type == "bert"
    assert not minilm.model.training
    parameters = dict(minilm.model.named_parameters())
    assert not any(name.startswith("pooler") for name in parameters)
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in parameters.values())


@pytest.mark.parametrize("model_type", ["bert", "roberta", "electra", "mpnet"])
def test_load_saved_folder_gives_the_same_encoder(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, model_type: str
) -> None:
    """Weights saved and loaded again have the same fingerprint, with or without their unused pooler."""
    encoder = tiny_encoder(model_type)
    save_encoder(tmp_path, model_type)
    first, second = load_encoder(str(tmp_path)), load_encoder(str(tmp_path))
    assert first.fingerprint == second.fingerprint
    assert first.architecture == encoder.architecture
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, encoder.model.state_dict()[name]), name


@pytest.mark.parametrize("output_layer", [0, -1, NUM_LAYERS + 1])
def test_output_layer_that_does_not_exist_is_refused(
    tiny_encoder: Callable[[str], Encoder], output_layer: int
) -> None:
    with pytest.raises(
        EncoderError,
        match=rf"`encoder.output_layer` must lie in 1\.\.3 for tiny bert, but got {output_layer};.*about layer 2",
    ):
        OutputLayer(tiny_encoder("bert"), output_layer)


def test_fingerprint_changes_with_a_weight_and_with_the_tokenizer() -> None:
    first, same, other, cut = (encoder_of("bert") for _ in range(4))
    other.model.encoder.layer[0].output.dense.bias.data[0] += 1e-6
    tokenizer = SimpleNamespace(backend_tokenizer=SimpleNamespace(to_str=lambda: "{}"))
    cut = Encoder(cut.name, cut.model, tokenizer, cut.architecture)
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, other.fingerprint, cut.fingerprint}) == 3


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_architecture_of_supported_type_is_itself(model_type: str) -> None:
    assert architecture_of(model_type).model_type == model_type
