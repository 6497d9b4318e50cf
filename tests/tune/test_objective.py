import pytest

from rocore.config import make_config
from rocore.errors import CheckpointError, ConfigError, DivergedError
from tune.config import ObjectiveConfig
from tune.objective import describe, final_run, pseudo_novel_configs, search_run

CONFIG = make_config({"train": {"pretrain_epochs": 2, "max_epochs": 2}, "loss": {"pair_margin": 2.0}})


def scores(run):
    epochs = []
    while not run.finished:
        epochs.append(run.run_epoch())
    return epochs


def test_pseudo_novel_is_the_mean_over_folds_on_all_hidden_instances(engine):
    epochs = scores(search_run(CONFIG, ObjectiveConfig(num_folds=2), engine))
    # quality 0.6 at the end; fold 1 scores 0.1 less; 0.001 says that all hidden instances were asked for.
    assert [epoch.objective for epoch in epochs] == pytest.approx(
        [0, 0, 0.45 - 0.05 + 0.001, 0.6 - 0.05 + 0.001]
    )
    assert [epoch.phase for epoch in epochs] == ["pretrain", "pretrain", "joint", "joint"]
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert [epoch.finished for epoch in epochs] == [False, False, False, True]


def test_pseudo_novel_prepares_hidden_known_relations_only(engine):
    search_run(CONFIG, ObjectiveConfig(num_folds=3, num_relations=4, seed=5), engine)
    hidden = [config.data.pseudo_novel for config in engine.prepared]
    assert [(fold.num_relations, fold.fold, fold.seed) for fold in hidden] == [
        (4, 0, 5),
        (4, 1, 5),
        (4, 2, 5),
    ]


def test_pseudo_novel_hands_its_keys_to_the_hidden_task():
    keys = {"share": 0.5, "instances_per_relation": "equal", "labeled_per_epoch": 700, "read_novel": True}
    (fold,) = pseudo_novel_configs(CONFIG, ObjectiveConfig(num_folds=1, **keys))
    assert fold.data.pseudo_novel.model_dump(include=set(keys)) == keys


def test_pseudo_novel_has_the_steps_of_the_real_split_by_default():
    (fold,) = pseudo_novel_configs(CONFIG, ObjectiveConfig(num_folds=1))
    assert fold.data.pseudo_novel.labeled_per_epoch == "real"
    assert fold.train == CONFIG.train  # the same rule of convergence, too


@pytest.mark.parametrize(("asked", "digit"), [("all_test", 0.002), ("novel", 0.001)])
def test_pseudo_novel_in_incremental_mode_judges_the_unified_classifier(engine, asked, digit):
    config = make_config({**CONFIG.model_dump(), "incremental": {"enabled": True}})
    objective = ObjectiveConfig(num_folds=1, incremental_score=asked)
    epochs = scores(search_run(config, objective, engine))
    assert epochs[-1].objective == pytest.approx(0.6 + digit)
    metric = "all_test.b3_f1" if asked == "all_test" else "novel_test.b3_f1"
    assert describe(config, objective)["final_metric"] == metric


@pytest.mark.parametrize(("size", "hidden_size"), [(1600, None), (0.2, 0.2), (None, None)])
def test_pseudo_novel_takes_no_count_meant_for_the_real_novel_instances(size, hidden_size):
    config = make_config({"data": {"novel_test_size": size}})
    assert {fold.data.novel_test_size for fold in pseudo_novel_configs(config, ObjectiveConfig())} == {
        hidden_size
    }


def test_oracle_scores_the_real_test_split(engine):
    epochs = scores(search_run(CONFIG, ObjectiveConfig(name="oracle"), engine))
    assert epochs[-1].objective == pytest.approx(0.6)
    assert engine.prepared[0].data.pseudo_novel is None


def test_oracle_without_gold_is_refused(engine):
    engine.gold = False
    with pytest.raises(ConfigError, match="needs gold"):
        search_run(CONFIG, ObjectiveConfig(name="oracle"), engine)


def test_only_the_oracle_is_stamped():
    names = ("pseudo_novel", "oracle")
    stamps = {name: describe(CONFIG, ObjectiveConfig(name=name))["stamp"] for name in names}
    assert stamps == {"pseudo_novel": None, "oracle": "selected on novel gold labels"}


@pytest.mark.parametrize(("read", "said"), [(True, "as many real novel sentences"), (False, "never read")])
def test_description_says_what_is_read_of_novel_instances(read, said):
    assert said in describe(CONFIG, ObjectiveConfig(read_novel=read))["description"]


def test_final_run_evaluates_its_last_epoch_and_reports_no_objective(engine):
    epochs = scores(final_run(CONFIG, engine))
    assert {epoch.objective for epoch in epochs} == {0.0}
    assert [epoch.metrics for epoch in epochs[:-1]] == [None] * 3
    assert epochs[-1].metrics == {"novel_test.b3_f1": pytest.approx(0.6)}


def test_final_run_without_gold_gives_label_free_figures(engine):
    engine.gold = False
    assert scores(final_run(CONFIG, engine))[-1].metrics == {
        "silhouette": pytest.approx(0.6),
        "pseudo_label_change": 0.5,
    }


def test_run_goes_on_from_a_checkpoint_with_the_same_scores(engine, tmp_path):
    whole = scores(search_run(CONFIG, ObjectiveConfig(), engine))
    first = search_run(CONFIG, ObjectiveConfig(), engine)
    for _ in range(3):
        first.run_epoch()
    first.save(tmp_path)
    second = search_run(CONFIG, ObjectiveConfig(), engine)
    second.load(tmp_path)
    assert second.scores == first.scores
    assert scores(second) == whole[3:]


def test_run_with_a_torn_checkpoint_says_so(engine, tmp_path):
    run = search_run(CONFIG, ObjectiveConfig(), engine)
    with pytest.raises(CheckpointError, match=r"must hold scores\.json"):
        run.load(tmp_path)


def test_run_passes_a_divergence_on(engine):
    config = make_config({"train": {"pretrain_epochs": 1}, "loss": {"pair_margin": 3.95}})
    run = search_run(config, ObjectiveConfig(), engine)
    run.run_epoch()
    with pytest.raises(DivergedError, match="must be finite"):
        run.run_epoch()


def test_scalars_are_losses_and_label_free_figures(engine):
    epochs = scores(search_run(CONFIG, ObjectiveConfig(), engine))
    assert epochs[0].scalars == {"loss/pair": 1.0}
    assert set(epochs[-1].scalars) == {"loss/pair", "silhouette", "pseudo_label_change"}


def test_close_closes_every_trainer(engine):
    run = search_run(CONFIG, ObjectiveConfig(), engine)
    run.close()
    assert [trainer.closed for trainer in run.trainers] == [True, True]


@pytest.mark.parametrize("name", ["pseudo_novel", "oracle"])
def test_second_objective_of_accuracy_is_measured_at_the_end_alone(name, engine):
    epochs = scores(search_run(CONFIG, ObjectiveConfig(name=name, second="known_accuracy"), engine))
    assert [epoch.metrics for epoch in epochs[:-1]] == [None] * 3
    assert epochs[-1].metrics == {"known_accuracy": pytest.approx(0.7)}


def test_second_objective_of_accuracy_without_known_test_instances_is_refused(engine, monkeypatch):
    run = search_run(CONFIG, ObjectiveConfig(second="known_accuracy"), engine)
    monkeypatch.setattr(type(run.evaluators[0]), "known_accuracy", lambda *_: None)
    with pytest.raises(ConfigError, match="needs known test instances, but there are none"):
        scores(run)


def test_without_a_second_objective_no_accuracy_is_measured(engine):
    assert scores(search_run(CONFIG, ObjectiveConfig(), engine))[-1].metrics is None
