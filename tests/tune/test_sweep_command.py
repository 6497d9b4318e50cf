from pathlib import Path

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.errors import ConfigError, SweepError, SweepInterrupted
from tune.sweep import SweepResult


@pytest.fixture
def calls(monkeypatch):
    made = []

    def run(sweep, out, *, echo):
        made.append((sweep, out))
        echo("searching")
        return SweepResult(
            Path(out), str(out), "trial-3", {"loss.pair_margin": 1.5}, 0.8123, "No significant difference."
        )

    def resume(out, *, num_more, space, overrides, echo):
        made.append((out, num_more, overrides) if space is None else (out, num_more, space))
        return SweepResult(Path(out), str(out), "paper", {}, 0.5, "As the paper's.")

    monkeypatch.setattr("tune.sweep.run_sweep", run)
    monkeypatch.setattr("tune.sweep.resume_sweep", resume)
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


@pytest.mark.parametrize(("arguments", "num_more"), [(["--resume"], 0), (["--extend", "8"], 8)])
@pytest.mark.parametrize("overrides", [{}, {"cache.max_gib": 20}])
def test_sweep_resumes_and_extends_a_directory(calls, tmp_path, arguments, num_more, overrides):
    settings = [word for key, value in overrides.items() for word in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(main, ["sweep", *arguments, str(tmp_path), *settings])
    assert result.exit_code == 0
    assert calls == [(tmp_path, num_more, overrides)]
    assert "As the paper's." in result.output


def test_sweep_extended_takes_a_space_from_a_file(calls, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("loss.pair_margin: {distribution: uniform, low: 1, high: 2}")
    result = CliRunner().invoke(main, ["sweep", "--extend", "8", str(tmp_path), "--space", str(path)])
    assert result.exit_code == 0, result.output
    assert calls == [(tmp_path, 8, {"loss.pair_margin": {"distribution": "uniform", "low": 1, "high": 2}})]


def test_sweep_sequential_runs_one_trial_at_a_time(sweep_file, calls):
    CliRunner().invoke(main, ["sweep", str(sweep_file()), "--sequential"])
    assert calls[0][0].config.resources.max_concurrent_trials == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of CONFIG, --resume DIR, --extend N DIR and --replay DIR must be given"),
        (["{file}", "--resume", "{folder}"], "one of CONFIG"),
        (["--resume", "{folder}", "--extend", "2", "{folder}"], "one of CONFIG"),
        (["--replay", "{folder}", "--set", "seed=3"], "take a sweep as it is"),
        (["--resume", "{folder}", "--sequential"], "take a sweep as it is"),
        (["--extend", "0", "{folder}"], "0 is not in the range"),
        (
            ["--resume", "{folder}", "--space", "{file}"],
            "--space says what the trials of --extend N DIR are drawn",
        ),
    ],
)
def test_sweep_with_options_that_contradict_each_other_is_refused(
    sweep_file, calls, tmp_path, arguments, message
):
    names = {"file": sweep_file(), "folder": tmp_path}
    result = CliRunner().invoke(main, ["sweep", *(argument.format(**names) for argument in arguments)])
    assert result.exit_code == 2
    assert message in result.output
    assert calls == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(SweepError("all failed"), 1), (SweepInterrupted("stopped"), 130), (ConfigError("no"), 2)],
)
def test_sweep_ends_with_a_code_that_says_how(sweep_file, monkeypatch, error, code):
    def run(sweep, out, *, echo):
        raise error

    monkeypatch.setattr("tune.sweep.run_sweep", run)
    result = CliRunner().invoke(main, ["sweep", str(sweep_file())])
    assert (result.exit_code, f"error: {error}" in result.output) == (code, True)
