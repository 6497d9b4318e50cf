"""The command `rocore`: sub-commands, errors, exit codes, and how little it imports."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from rocore.commands.main import GROUP, CommandGroup, main
from rocore.errors import ConfigError, DivergedError
from rocore.process import ENVIRONMENT


@click.command()
@click.argument("outcome")
def probe(outcome):
    """Ends as it is told to."""
    if outcome == "config":
        raise ConfigError("`loss.pair_margin > 0` must hold, but got -1.0")
    if outcome == "diverged":
        raise DivergedError("the loss must be finite, but is nan")
    if outcome == "interrupt":
        raise KeyboardInterrupt
    if outcome == "bug":
        raise ZeroDivisionError("our mistake")
    click.echo(os.environ["TRANSFORMERS_VERBOSITY"])


not_a_command = "text"


@pytest.fixture
def group(monkeypatch):
    """A group like `rocore` whose entry points stand in this module."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "to be removed")
        monkeypatch.delenv(name)
    made = CommandGroup(name="rocore")
    monkeypatch.setitem(sys.modules, "main_probe", sys.modules[__name__])
    made.entry_points = {
        name: EntryPoint(name, value, GROUP)
        for name, value in {
            "probe": "main_probe:probe",
            "absent-module": "no_such_module:command",
            "absent-name": "main_probe:no_such_name",
            "no-command": "main_probe:not_a_command",
        }.items()
    }
    return made


def run(command, *args):
    return CliRunner().invoke(command, list(args), prog_name="rocore")


@pytest.mark.parametrize(
    ("outcome", "exit_code", "stderr"),
    [
        ("config", 2, "error: `loss.pair_margin > 0` must hold, but got -1.0\n"),
        ("diverged", 3, "error: the loss must be finite, but is nan\n"),
        ("interrupt", 130, "interrupted\n"),
    ],
)
def test_main_where_a_command_ends_early_prints_one_line_and_its_exit_code(group, outcome, exit_code, stderr):
    result = run(group, "probe", outcome)
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, stderr, "")


def test_main_where_a_command_has_a_bug_keeps_the_traceback(group):
    with pytest.raises(ZeroDivisionError, match="our mistake"):
        CliRunner().invoke(group, ["probe", "bug"], catch_exceptions=False)


def test_main_sets_the_environment_before_a_command_runs(group):
    assert run(group, "probe", "fine").stdout == "error\n"


def test_main_where_the_user_set_the_environment_keeps_it(group, monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    assert run(group, "probe", "fine").stdout == "info\n"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("prob", "did you mean `probe`?"), ("xyzzy", "commands: absent-module, absent-name, no-command, probe")],
)
def test_main_where_the_command_is_unknown_says_which_there_are(group, typed, hint):
    result = run(group, typed)
    assert result.exit_code == 2
    assert f"there is no command `{typed}`; {hint}" in result.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent-module", "No module named 'no_such_module'"),
        ("absent-name", "no_such_name"),
        ("no-command", "must be a command, but is a str"),
    ],
)
def test_main_where_a_command_cannot_be_loaded_says_why(group, name, reason):
    result = run(group, name)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert reason in result.stderr


def test_help_where_a_command_cannot_be_loaded_still_lists_the_others(group):
    result = run(group, "--help")
    assert result.exit_code == 0
    assert "Ends as it is told to." in result.stdout
    assert "absent-module  (can't be loaded; `rocore absent-module` says why)" in result.stdout


def test_main_lists_the_sub_commands_of_all_three_packages():
    names = main.list_commands(click.Context(main))
    assert {"train", "evaluate", "predict", "data", "sweep", "report", "cluster"} <= set(names)


def test_every_sub_command_can_be_loaded_and_says_what_it_does():
    result = run(main, "--help")
    assert result.exit_code == 0
    assert "can't be loaded" not in result.stdout


def test_version_names_the_program():
    assert run(main, "--version").stdout.startswith("rocore, version ")


def test_help_imports_no_heavy_library():
    code = (
        "import sys\nfrom rocore.commands.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'ray', 'optuna', 'matplotlib', 'sklearn', 'tensorboard'}\n"
        "sys.stderr.write(','.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_module_runs_as_the_command_does():
    done = subprocess.run(
        [sys.executable, "-m", "rocore", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("rocore, version ")


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "sw", ["sweep"]),
        (["sweep"], "--dry", ["--dry-run"]),
        (["train", "--set"], "loss.pair", ["loss.pair_margin="]),
        (["sweep", "--set"], "search.num", ["search.num_trials="]),
        (["sweep", "--set"], "train.max", ["train.max_epochs="]),
        (["train", "--set"], "search.num", []),
    ],
)
def test_completion_knows_commands_options_and_keys(words, incomplete, expected):
    found = ShellComplete(main, {}, "rocore", "_ROCORE_COMPLETE").get_completions(words, incomplete)
    assert [item.value for item in found] == expected


def test_help_of_every_command_shows_how_it_is_called():
    silent = [name for name, command in leaves(main) if f"rocore {name}" not in (command.help or "")]
    assert silent == []


def leaves(group, prefix=""):
    """Yield the commands below a group by their words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_help_lists_the_exit_codes():
    assert "130  interrupted, and to be resumed" in run(main, "--help").stdout
