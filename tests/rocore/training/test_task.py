"""What training is given: rows of the bank, labels of known relations, and nothing from gold."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from rocore.config import override
from rocore.encoder import native
from rocore.encoder.tokens import TokenBank, TokenStore
from rocore.errors import ConfigError, EncoderError
from rocore.training.steps import batches
from rocore.training.task import TrainingTask, build_trunk_cache, prepare, resolve_device
from rocore.training.trainer import Trainer


def test_training_task_has_no_field_for_gold():
    assert not [field.name for field in fields(TrainingTask) if "gold" in field.name]


def test_prepare_gives_disjoint_rows_known_before_novel(config_of, prepared_of):
    task = prepared_of(config_of({"incremental.enabled": True})).task
    assert sorted(task.rows) == list(range(70))
    assert max(*task.known_train, *task.known_test) < 40 <= min(*task.novel_train, *task.novel_test)
    assert task.known_train_labels.tolist() == [row // 10 for row in task.known_train]


def test_prepare_in_pseudo_novel_mode_shares_one_pool(config_of, prepared_of):
    prepared = prepared_of(config_of({"data.pseudo_novel": {"num_relations": 2}}))
    task = prepared.task
    assert prepared.corpus.known is prepared.corpus.novel
    assert (task.num_known_relations, task.num_novel_relations) == (2, 2)
    assert sorted(task.rows) == list(range(40))
    assert prepared.evaluator is not None


@pytest.mark.parametrize("learning_rate", [1e-4, 1e-2])
@pytest.mark.parametrize(("patience", "end"), [(99, "max_epochs"), (2, "converged")])
def test_hidden_task_trains_as_long_as_the_real_one(
    config_of, trainer_of, train, monkeypatch, learning_rate, patience, end
):
    """As many steps, as many assignments of pseudo labels and the same end: no learning rate gains by its speed."""
    keys = {"train.learning_rate": learning_rate, "train.max_epochs": 4, "incremental.enabled": True}
    keys |= {"train.convergence_tolerance": 1.0, "train.convergence_patience": patience}
    hiding = {"num_relations": 2, "labeled_per_epoch": "real"}
    assigned, counts = Trainer._assign_pseudo_labels, []
    monkeypatch.setattr(
        Trainer, "_assign_pseudo_labels", lambda self: counts.append(self.epoch) or assigned(self)
    )
    seen = []
    for own in ({}, {"data.pseudo_novel": hiding}):
        counts.clear()
        trainer = train(trainer_of(config_of({**keys, **own}))).trainer
        steps = [len(list(batches(trainer.config, trainer.task, epoch))) for epoch in range(2)]
        moves = {int(state["step"]) for state in trainer.optimizer.state.values()}
        seen.append((steps, moves, list(counts), trainer.stop_reason))
    assert seen[0] == seen[1]
    assert seen[0][3] == end


def test_training_with_shuffled_gold_is_the_same_to_the_last_bit(config_of, prepared_of, train, outcome):
    config = config_of({"incremental.enabled": True})
    prepared = prepared_of(config)
    relations = np.random.default_rng(0).permutation(np.array(prepared.evaluator.gold.relations))
    shuffled = replace(
        prepared.evaluator, gold=replace(prepared.evaluator.gold, relations=tuple(relations.tolist()))
    )
    outcomes, scores = [], []
    for evaluator in (prepared.evaluator, shuffled):
        trainer = Trainer(config, prepared.task)
        reports = []
        while not trainer.finished:
            reports.append(trainer.run_epoch())
            metrics = evaluator.evaluate(trainer)
        outcomes.append(outcome(replace(train(trainer), reports=reports)))
        scores.append(metrics)
    assert outcomes[0] == outcomes[1]
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    ("has_compiler", "resident", "attention"),
    [(True, False, "C"), (False, False, "tensors"), (True, True, "tensors")],
    ids=["compiler", "no-compiler", "tokens-as-on-an-accelerator"],
)
def test_task_says_what_computes_attention(
    has_compiler, resident, attention, config_of, prepared_of, monkeypatch
):
    monkeypatch.setattr(native, "library", lambda: object() if has_compiler else None)
    task = prepared_of(config_of({"incremental.enabled": True})).task
    store = TokenStore(torch.zeros(1, 32), np.array([0, 1]), np.array([[0, 1, 0, 1]]))
    task = replace(task, bank=TokenBank([store], task.device, resident=resident))
    assert task.attention == attention


def test_build_trunk_cache_spares_every_later_prepare_the_trunk(config_of, tmp_path, monkeypatch):
    config = config_of({"cache.root": str(tmp_path)})
    build_trunk_cache(config, [1, 3, 2, 3])
    monkeypatch.setattr("rocore.encoder.cache.run_trunk", forbidden)
    for output_layer in (1, 2, 3):
        prepare(override(config, {"encoder.output_layer": output_layer}))


@pytest.mark.parametrize("hides", [False, True])
def test_prepare_of_cut_data_uses_the_trunk_of_the_whole(config_of, tmp_path, monkeypatch, hides):
    config = config_of({"cache.root": str(tmp_path)})
    build_trunk_cache(config, [2])
    monkeypatch.setattr("rocore.encoder.cache.run_trunk", forbidden)
    cuts = {"data.resplit.num_novel_relations": 2, "data.subset.num_labeled": 30}
    if hides:
        cuts["data.pseudo_novel.num_relations"] = 2
    assert len(prepare(override(config, cuts)).task.rows) == (30 if hides else 50)


def test_prepare_of_a_resplit_gives_each_row_its_own_sentence(config_of, prepared_of):
    """Rows of the bank lie as in the joined pool: the tokens of a row are those of its sentence."""
    plain, dealt = (prepared_of(config_of(keys)) for keys in ({}, {"data.resplit.num_novel_relations": 2}))
    assert dealt.task.bank is plain.task.bank
    assert dealt.corpus.known.sentences == (*plain.corpus.known.sentences, *plain.corpus.novel.sentences)
    assert sorted(dealt.task.rows) == list(range(70))
    assert len({*dealt.task.novel_train, *dealt.task.novel_test} & set(range(40))) in (10, 20)


def forbidden(*_args, **_options):
    raise AssertionError("the trunk ran again")


@pytest.mark.parametrize("output_layers", [[4], [1, 9]])
def test_build_trunk_cache_of_absent_layers_is_refused(output_layers, config_of, tmp_path):
    config = config_of({"cache.root": str(tmp_path)})
    with pytest.raises(EncoderError, match=r"`encoder.output_layer` must lie in 1..3"):
        build_trunk_cache(config, output_layers)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gpu", "cuda:zero", ""])
def test_resolve_device_of_no_device_is_refused(name):
    with pytest.raises(ConfigError, match=r"`train\.device` must be auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_resolve_device_without_cuda_says_so(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="no CUDA device is here; set it to auto or cpu"):
        resolve_device("cuda:1")


@pytest.fixture
def two_gpus(monkeypatch):
    """Return the devices that became the current one."""
    entered = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", entered.append)
    monkeypatch.setattr("rocore.training.task.find_spec", lambda name: name)
    return entered


def test_resolve_device_of_a_numbered_gpu_makes_it_the_current_one(two_gpus):
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("auto") == torch.device("cuda")
    assert two_gpus == [torch.device("cuda:1")]


def test_resolve_device_of_a_gpu_leaves_fp32_as_it_is(two_gpus):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        resolve_device("cuda")
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def test_resolve_device_beyond_the_last_gpu_is_refused(two_gpus):
    with pytest.raises(ConfigError, match=r"one of 2 CUDA devices from cuda:0, but is cuda:2"):
        resolve_device("cuda:2")


def test_resolve_device_of_a_gpu_without_triton_says_what_to_install(two_gpus, monkeypatch):
    monkeypatch.setattr("rocore.training.task.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs Triton.*pip install triton, or set `train\.device` to cpu"):
        resolve_device("cuda")
