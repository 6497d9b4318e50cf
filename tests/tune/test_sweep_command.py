from pathlib import Path

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from tune.sweep import SweepResult


@pytest.fixture
def calls(monkeypatch):
    made = []

    def run(sweep, out, *, echo):
        made.append((sweep, out))
        echo("searching")
        return SweepResult(out, "trial-3", {"loss.pair_margin": 1.5}, 0.8123, "No significant difference.")

    monkeypatch.setattr("tune.sweep.run_sweep", run)
    return made


def test_sweep_says_what_is_best_and_where_the_report_is(sweep_file, calls, tmp_path):
    result = CliRunner().invoke(main, ["sweep", str(sweep_file()), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    for part in ("trial-3", "0.8123", "sigma=1.5", "No significant difference.", "out/report.html"):
        assert part in result.output


def test_sweep_without_out_goes_to_a_folder_named_by_the_configuration(sweep_file, calls):
    CliRunner().invoke(main, ["sweep", str(sweep_file())])
    assert [out for _, out in calls] == [Path("sweeps/small")]


def test_sweep_applies_set_keys_of_both_kinds(sweep_file, calls):
    arguments = [
        "--set",
        "search.num_trials=3",
        "--set",
        "train.max_epochs=9",
        "--set",
        "loss.weight_decay=1e-4",
    ]
    result = CliRunner().invoke(main, ["sweep", str(sweep_file()), *arguments])
    assert result.exit_code == 0
    (sweep, _) = calls[0]
    assert sweep.config.search.num_trials == 3
    assert (sweep.base.train.max_epochs, sweep.base.loss.weight_decay) == (9, 1e-4)


def test_sweep_with_a_misspelt_key_ends_with_the_nearest_name(sweep_file, calls):
    result = CliRunner().invoke(main, ["sweep", str(sweep_file()), "--set", "serch.num_trials=3"])
    assert result.exit_code == 2
    assert "did you mean `search.num_trials`?" in result.output
    assert calls == []
