"""Gold novel labels reach neither training, nor the objective, nor the choice: shuffling them changes no bit."""

import json
import random

import pytest
import torch

import rocore
from rocore.config import ResplitConfig, make_config
from rocore.data.resplit import draw_novel
from tune.config import ObjectiveConfig
from tune.objective import final_run, search_run
from tune.records import TrialRecord
from tune.reevaluation import rank

POINTS = (
    {"loss.center_weight": 0.005, "loss.pair_margin": 2.0},
    {"loss.center_weight": 0.05, "loss.pair_margin": 1.0},
)
READING = ({}, {"read_novel": True, "instances_per_relation": "real"})
"""Keys of the objective: the real novel sentences unread, and read."""
RELATIONS = ("capital", "author", "employer", "spouse", "founder", "river", "member", "sport")


def write_pool(path, relations, per_relation, seed):
    rng = random.Random(seed)
    words = ["alpha", "beta", "gamma", "delta", "north", "south", "old", "new", "the", "of"]
    with path.open("w") as file:
        for index in range(len(relations) * per_relation):
            relation = relations[index % len(relations)]
            tokens = [
                rng.choice(words),
                "Anna",
                relation,
                rng.choice(words),
                "Berlin",
                rng.choice(words),
                str(index),
            ]
            row = {"tokens": tokens, "head": [1, 2], "tail": [4, 5], "relation": relation}
            file.write(json.dumps(row) + "\n")


def shuffle_gold(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    gold = [row["relation"] for row in rows]
    random.Random(1).shuffle(gold)
    shuffled = [row | {"relation": relation} for row, relation in zip(rows, gold, strict=True)]
    assert shuffled != rows
    path.write_text("".join(json.dumps(row) + "\n" for row in shuffled))


def shuffle_gold_of_drawn(folder, resplit):
    """Permute the relations of the instances that a re-split makes novel, in whichever file they stand."""
    pools = {
        path: [json.loads(line) for line in path.read_text().splitlines()]
        for path in (folder / "known.jsonl", folder / "novel.jsonl")
    }
    names = {row["relation"] for rows in pools.values() for row in rows}
    drawn = draw_novel(tuple(names), ResplitConfig(**resplit))
    assert drawn & set(RELATIONS) < drawn  # from both files
    rows = [row for rows in pools.values() for row in rows if row["relation"] in drawn]
    gold = [row["relation"] for row in rows]
    random.Random(1).shuffle(gold)
    assert gold != [row["relation"] for row in rows]
    for row, relation in zip(rows, gold, strict=True):
        row["relation"] = relation
    for path, rows in pools.items():
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def base(tmp_path):
    write_pool(tmp_path / "known.jsonl", RELATIONS, 12, seed=0)
    write_pool(tmp_path / "novel.jsonl", ("owner", "border", "genre"), 20, seed=1)
    data = {"format": "jsonl", "root": str(tmp_path), "known": "known.jsonl", "novel": "novel.jsonl"}
    return {
        "data": data | {"novel_test_size": 0.25},
        "encoder": {"name": "minilm", "output_layer": 2, "precision": "fp32", "max_pieces": 32},
        "train": {"pretrain_epochs": 1, "max_epochs": 3, "batch_size": 16, "device": "cpu", "num_threads": 1},
        "cache": {"root": str(tmp_path / "cache")},
    }


@pytest.fixture
def redealt(base):
    cuts = {
        "resplit": {"num_novel_relations": 4, "seed": 0},
        "subset": {"num_known_relations": 6, "instances_per_relation": 11, "num_labeled": 63},
    }
    return base | {"data": base["data"] | cuts}


def choose(base, objective):
    """Run the search in this process; return the choice, its last epoch, every curve and every model."""
    records, models = [], []
    for number, point in enumerate(POINTS):
        run = search_run(rocore.override(make_config(base), point), objective, rocore)
        record = TrialRecord(f"{number:04d}", number, dict(point))
        while not run.finished:
            score = run.run_epoch()
            record.curve.append({"epoch": score.epoch, "objective": score.objective, "seconds": 0.0})
        record.state, record.objective = "complete", score.objective
        records.append(record)
        models.append(
            [{k: v.clone() for k, v in trainer.model.state_dict().items()} for trainer in run.trainers]
        )
        run.close()
    best = rank(records)[0]
    return best.number, best.epochs, [record.curve for record in records], models


def same_bits(left, right):
    return all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for mine, yours in zip(left, right, strict=True)
        for one, other in zip(mine, yours, strict=True)
    )


@pytest.mark.parametrize("keys", READING, ids=str)
def test_shuffled_gold_changes_neither_choice_nor_epoch_nor_model(base, tmp_path, keys):
    objective = ObjectiveConfig(num_relations=3, num_folds=1 if keys else 2, **keys)
    before = choose(base, objective)
    shuffle_gold(tmp_path / "novel.jsonl")
    after = choose(base, objective)
    assert before[:3] == after[:3]
    assert same_bits(before[3], after[3])


@pytest.mark.parametrize("keys", READING, ids=str)
def test_shuffled_gold_of_drawn_relations_changes_neither_choice_nor_epoch_nor_model(redealt, tmp_path, keys):
    objective = ObjectiveConfig(num_relations=3, num_folds=1, **keys)
    before = choose(redealt, objective)
    shuffle_gold_of_drawn(tmp_path, redealt["data"]["resplit"])
    after = choose(redealt, objective)
    assert before[:3] == after[:3]
    assert same_bits(before[3], after[3])


def test_shuffled_gold_of_drawn_relations_changes_the_oracle(redealt, tmp_path):
    """The test above can fail: the evaluator does see that gold."""
    objective = ObjectiveConfig(name="oracle")
    before = choose(redealt, objective)
    shuffle_gold_of_drawn(tmp_path, redealt["data"]["resplit"])
    after = choose(redealt, objective)
    assert before[2] != after[2]
    assert same_bits(before[3], after[3])


def test_shuffled_gold_changes_the_oracle(base, tmp_path):
    """The test above can fail: the oracle's curves do change."""
    objective = ObjectiveConfig(name="oracle")
    before = choose(base, objective)
    shuffle_gold(tmp_path / "novel.jsonl")
    after = choose(base, objective)
    assert before[2] != after[2]
    assert same_bits(before[3], after[3])


def test_read_novel_trains_on_the_real_sentences(base):
    """The tests above can fail: those sentences do reach the model."""
    (models,) = choose(base, ObjectiveConfig(num_relations=3, num_folds=1))[3][:1]
    (beside,) = choose(base, ObjectiveConfig(num_relations=3, num_folds=1, read_novel=True))[3][:1]
    assert models[0]["novel_classifier.weight"].shape[0] == 3
    assert beside[0]["novel_classifier.weight"].shape[0] == 3 + 3


def test_pseudo_novel_never_opens_the_novel_file(base, tmp_path):
    (tmp_path / "novel.jsonl").unlink()
    run = search_run(make_config(base), ObjectiveConfig(num_relations=3, num_folds=1), rocore)
    assert run.run_epoch().epoch == 1


def test_final_run_that_keeps_representations_trains_the_model_that_a_plain_trainer_does(base):
    config = make_config(base)
    plain = rocore.Trainer(config, rocore.prepare(config).task)
    while not plain.finished:
        plain.run_epoch()
    run = final_run(config, rocore)
    while not run.finished:
        run.run_epoch()
    plain_state, state = plain.model.state_dict(), run.trainers[0].model.state_dict()
    assert same_bits([[plain_state]], [[state]])
    assert set(run.representations.labels) == {"owner", "border", "genre"}
