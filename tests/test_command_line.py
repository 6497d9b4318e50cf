"""What holds for every command: its help stands line by line, its output's place is looked at before its work."""

import json
import pwd
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.config import dump_config, make_config


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def commands(group=main, words=()):
    """Yield every command and group below the root, by its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
    if words == ():
        yield from ((("sweep", name), None) for name in ("status", "collect"))


EVERY = {" ".join(words): words for words, _ in commands()}


@pytest.mark.parametrize("name", EVERY)
def test_help_of_every_command_shows_its_examples_line_by_line(name):
    result = run(*EVERY[name], "--help")
    assert result.exit_code == 0
    assert "\\b" not in result.stdout
    examples = [line.strip() for line in result.stdout.splitlines() if line.startswith("  rocore ")]
    assert examples or name in {"cache", "data", "cluster job"}
    assert all(line.count("  rocore ") == 0 for line in examples)


RUN = {"known_relations": ["a", "b"], "num_novel_relations": 2}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with configurations, a run directory, a file and a folder that is in use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("seed: 1\n")
    space = {"loss.pair_margin": {"distribution": "uniform", "low": 0.5, "high": 4.0}}
    sweep = {
        "base": {"encoder": {"output_layer": 4}},
        "search": {"num_trials": 2, "space": space},
        "paper": {"loss.pair_margin": 2.0},
    }
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    checkpoint = tmp_path / "run" / "checkpoints" / "epoch-0001"
    checkpoint.mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(dump_config(make_config({})))
    (tmp_path / "run" / "run.json").write_text(json.dumps(RUN))
    (checkpoint / "model.safetensors").write_text("weights")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "used").mkdir()
    return tmp_path


FOLDERS = {
    "train": ("train", "run.yaml", "--out"),
    "train --resume": ("train", "run.yaml", "--resume", "--out"),
    "sweep": ("sweep", "sweep.yaml", "--out"),
    "sweep --continue": ("sweep", "sweep.yaml", "--continue", "--out"),
    "sweep --dry-run": ("sweep", "sweep.yaml", "--dry-run", "--out"),
    "export": ("export", "run", "--out"),
    "data fetch": ("data", "fetch", "fewrel", "--to"),
    "sweep collect": ("sweep", "collect", "file:///nowhere/sweep", "--to"),
    "cluster render": ("cluster", "render", "{cluster}", "--to"),
    "cluster collect": ("cluster", "collect", "{cluster}", "/shared/sweeps/a", "--to"),
}
FILES = {
    "predict": ("predict", "run", "file", "--out"),
    "compare --csv": ("compare", "run", "run", "--csv"),
    "compare --html": ("compare", "run", "run", "--html"),
    "probe --json": ("probe", "run.yaml", "--json"),
}


def everything(folder):
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["file", "file/x", "/proc/x"])
@pytest.mark.parametrize("name", FOLDERS)
def test_command_whose_folder_cannot_be_written_ends_with_2_before_its_work(name, place, folder):
    (folder / "cluster.yaml").write_text(
        "kind: ssh\nssh_user: me\nhead: one.invalid\nworkers: []\nproject: /shared/project\nshared: /shared\n"
    )
    words = [word.format(cluster="cluster.yaml") for word in FOLDERS[name]]
    before = everything(folder)
    result = run(*words, place)
    assert result.exit_code == 2, result.output
    assert f"error: {words[-1]} must be a folder that can be written, but " in result.stderr
    assert everything(folder) == before


@pytest.mark.parametrize("place", ["used", "nowhere/p", "file/x", "/proc/p"])
@pytest.mark.parametrize("name", FILES)
def test_command_whose_file_cannot_be_written_ends_with_2_before_its_work(name, place, folder):
    before = everything(folder)
    result = run(*FILES[name], place)
    assert result.exit_code == 2, result.output
    assert f"error: {FILES[name][-1]} must be a file that can be written, but " in result.stderr
    assert everything(folder) == before


@pytest.mark.parametrize("place", ["file", "file/x", "/proc/x"])
def test_train_whose_cache_cannot_be_written_ends_with_2_and_leaves_the_out_free(place, folder):
    sizes = ["data.builtin.instances_per_relation=8", "encoder.output_layer=2", "encoder.precision=fp32"]
    settings = [word for each in sizes for word in ("--set", each)]
    result = run("train", "run.yaml", "--out", "new", "--set", f"cache.root={place}", *settings)
    assert result.exit_code == 2, result.output
    assert "error: the trunk cache must be writable, but " in result.stderr
    again = run("train", "run.yaml", "--out", "new", "--set", "encoder.name=./absent")
    assert "encoder folder must exist" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sweep", "status", "run"), "run must be a sweep directory, but is a run's; `rocore evaluate run`"),
        (("sweep", "--resume", "run"), "must be a sweep directory, but is a run's; `rocore evaluate "),
        (("sweep", "--extend", "2", "run"), "must be a sweep directory, but is a run's; `rocore evaluate "),
        (
            ("sweep", "--replay", "run"),
            "run must be a sweep directory, but is a run's; `rocore evaluate run`",
        ),
        (("report", "run"), "run must be a sweep directory, but is a run's; `rocore evaluate run`"),
        (
            ("evaluate", "sweep"),
            "sweep must be a run directory, but is a sweep's; `rocore sweep status sweep`",
        ),
        (("predict", "sweep", "file"), "sweep must be a run directory, but is a sweep's; `rocore sweep"),
        (("train", "run.yaml", "--out", "sweep"), "sweep must be a run directory, but is a sweep's"),
        (("export", "sweep", "--out", "x"), "a sweep must be complete to be exported, but sweep isn't"),
        (
            ("export", "used", "--out", "x"),
            "used must be a sweep directory, or a run directory with a checkpoint",
        ),
        (("compare", "used", "run"), "used must be a complete sweep or a finished run, but is neither"),
    ],
    ids=" ".join,
)
def test_command_given_the_wrong_kind_of_directory_says_which_kind_it_is(words, message, folder):
    (folder / "sweep").mkdir()
    (folder / "sweep" / "journal.jsonl").write_text("")
    (folder / "sweep" / "config.yaml").write_text((folder / "sweep.yaml").read_text())
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_command_of_a_user_without_a_home_says_what_to_set(folder, monkeypatch):
    def know_nobody(_):
        raise KeyError("uid not found")

    for name in ("HOME", "ROCORE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", know_nobody)
    result = run("cache", "ls")
    assert result.exit_code == 2
    assert (
        "this user has none; set HOME, or name folders in full (the cache's by ROCORE_CACHE" in result.stderr
    )
    assert run("cache", "ls", "--root", "cache").exit_code == 0


def test_command_whose_working_directory_was_removed_says_so(folder, monkeypatch):
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    result = run("cache", "ls", "--root", folder / "cache")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the working directory must be there, but ")


def test_read_command_whose_reader_leaves_ends_without_a_word(folder):
    code = "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); from rocore.commands.main import main; main()"
    command = [sys.executable, "-c", code, "cache", "ls", "--root", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_describe_in_a_locale_that_lacks_characters_shows_marks(encoding, folder):
    rows = [
        {"tokens": ["a", "b"], "head": [0, 1], "tail": [1, 2], "relation": relation}
        for relation in ("né 出", "b")
        for _ in range(3)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "known.jsonl").write_text(lines)
    (folder / "novel.jsonl").write_text(lines.replace("b", "c"))
    tree = {
        "data": {"format": "jsonl", "known": "known.jsonl", "novel": "novel.jsonl", "num_novel_relations": 2}
    }
    (folder / "own.yaml").write_text(json.dumps(tree))
    result = CliRunner(charset=encoding).invoke(main, ["data", "describe", "own.yaml"])
    assert result.exit_code == 0, result.output
    assert {"ascii": "n? ?", "latin-1": "né ?"}[encoding] in result.stdout
