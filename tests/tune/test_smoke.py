"""Planning with the measuring taken out."""

import json

import pytest
from click.testing import CliRunner

from rocore import EpochCost, RunCost
from rocore.commands.main import main
from rocore.errors import ConfigError
from tune import smoke


@pytest.fixture
def measured(monkeypatch):
    """Replace the measuring; return the calls: hidden relations' fold, output layers, layers trained at."""
    calls = []

    def measure(config, output_layers, train_at=None):
        hidden = config.data.pseudo_novel
        calls.append((hidden and hidden.fold, list(output_layers), train_at))
        return RunCost(
            setup_s=1.0,
            has_gold=False,
            trunk_s=1.0,
            trunk_bytes=1,
            missing_layers=(),
            epochs={r: EpochCost(1.0, 2.0) for r in train_at or output_layers},
            checkpoint_bytes=1,
            memory_bytes=1,
            model_bytes=1,
            on_gpu=False,
        )

    monkeypatch.setattr(smoke.rocore, "measure_run", measure, raising=False)
    monkeypatch.setattr(smoke.rocore, "set_threads", lambda number: None, raising=False)
    return calls


def test_smoke_measures_the_last_fold_at_every_layer_and_the_real_split_at_one(
    make_sweep, measured, tmp_path
):
    plan = smoke.plan_sweep(make_sweep(), tmp_path / "out")
    assert measured == [(1, [2, 3, 4, 5, 6], None), (None, [2, 3, 4, 5, 6], [6])]
    assert [layer.joint_epoch_s for layer in plan.layers] == [4.0] * 5
    assert list(tmp_path.glob("out*")) == []


def test_smoke_with_the_oracle_and_no_gold_is_refused(make_sweep, measured, tmp_path):
    with pytest.raises(ConfigError, match="objective `oracle` needs gold"):
        smoke.plan_sweep(make_sweep({"objective.name": "oracle"}), tmp_path)


def test_smoke_where_a_share_is_larger_than_the_machine_is_refused(make_sweep, measured, tmp_path):
    with pytest.raises(ConfigError, match=r"`resources\.cpus_per_trial` must be at most what is here"):
        smoke.plan_sweep(make_sweep({"resources.cpus_per_trial": 10_000}), tmp_path)
    assert measured == []


def test_smoke_where_the_plan_does_not_fit_is_refused(make_sweep, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "_memory_bytes", lambda: 0)
    with pytest.raises(ConfigError, match="trials at once will take"):
        smoke.plan_sweep(make_sweep(), tmp_path)


def test_capacity_of_a_container_is_its_limit(tmp_path, monkeypatch, make_sweep):
    monkeypatch.setattr(smoke, "CGROUP_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("1000\n")
    assert smoke.read_capacity(make_sweep(), tmp_path / "a" / "b").memory_bytes == 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert smoke.read_capacity(make_sweep(), tmp_path).memory_bytes > 1000


def test_dry_run_prints_tables_and_runs_nothing(sweep_file, measured, tmp_path, monkeypatch):
    monkeypatch.setattr("tune.sweep.run_sweep", lambda *_, **__: pytest.fail("the sweep was run"))
    result = CliRunner().invoke(
        main, ["sweep", str(sweep_file()), "--dry-run", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    assert "the whole sweep, expected" in result.stdout
    assert "warning: with 2 seeds" in result.stderr


def test_dry_run_as_json_is_json_alone(sweep_file, measured):
    result = CliRunner().invoke(main, ["sweep", str(sweep_file()), "--dry-run", "--json"])
    assert json.loads(result.stdout)["num_trials"] == 6


def test_dry_run_that_can_not_fit_ends_with_2(sweep_file, measured):
    arguments = ["sweep", str(sweep_file()), "--dry-run", "--set", "resources.cpus_per_trial=10000"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "lower it (--set resources.cpus_per_trial=" in result.stderr
