"""The report of a sweep directory: what is written, in which state of the sweep, and what it says."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
import yaml
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.config import load_config
from rocore.errors import CheckpointError, ConfigError
from tune.commands.report import report as command
from tune.report import build, write_report
from tune.report.exports import best_config, final_csv, trials_csv
from tune.report.results import Results, read_results

pytestmark = pytest.mark.usefixtures("few_resamples")
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that tags are nested; gathers ids, links and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.targets, self.addresses = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "xlink:href", "src"):
                (self.targets if value.startswith("#") else self.addresses).append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def written(directory):
    write_report(directory)
    return (directory / "report.html").read_text(encoding="utf-8"), (directory / "report.md").read_text(
        "utf-8"
    )


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def searched(tree):
    return tree | {"status": "searched", "final": [], "decision": None, "verdict": None}


def all_failed(tree):
    trials = [
        trial
        | {"state": "failed", "objective": None, "curve": [], "epochs": 0, "seconds": 0, "error": "no memory"}
        for trial in tree["search"]["trials"]
    ]
    return searched(tree) | {"search": tree["search"] | {"trials": trials, "best_trial": None}}


def one_trial(tree):
    return searched(tree) | {
        "search": tree["search"] | {"trials": tree["search"]["trials"][:1], "best_trial": 0}
    }


def no_trial(tree):
    return searched(tree) | {"search": tree["search"] | {"trials": [], "best_trial": None}}


def without_gold(tree):
    figure = {"mean": 0.31, "std": 0.02, "n": 2, "values": [0.29, 0.33], "ci95": [0.1, 0.5]}
    final = [
        entry | {"seeds": [1, 2], "failed_seeds": [], "metrics": {"silhouette": figure}}
        for entry in tree["final"]
    ]
    verdict = tree["verdict"] | {
        "difference": 0.0,
        "ci95": None,
        "p_value": None,
        "num_pairs": 0,
        "significant": False,
        "text": "The novel instances carry no gold relations.",
    }
    return tree | {"final": final, "verdict": verdict}


def every_seed_failed(tree):
    final = [
        entry
        | {"seeds": [], "metrics": {}, "failed_seeds": [{"seed": seed, "error": "gone"} for seed in (1, 2)]}
        for entry in tree["final"]
    ]
    return tree | {
        "final": final,
        "verdict": tree["verdict"] | {"difference": 0.0, "ci95": None, "num_pairs": 0},
    }


def one_seed(tree):
    final = []
    for entry in tree["final"]:
        metrics = {
            name: figures | {"std": None, "ci95": None, "n": 1, "values": figures["values"][:1]}
            for name, figures in entry["metrics"].items()
        }
        final.append(entry | {"seeds": [1], "failed_seeds": [], "metrics": metrics})
    return tree | {
        "final": final,
        "verdict": tree["verdict"] | {"ci95": None, "p_value": None, "num_pairs": 1},
    }


def raced(tree):
    dropped = {"num_pairs": 4, "leader": "paper", "difference": -0.1, "p_value": 0.01}
    configurations = [
        {"name": name, "params": {}, "values": [0.5, 0.6], "mean": 0.55, "dropped": fate}
        for name, fate in (("paper", None), ("trial-3", dropped))
    ]
    failed = [{"run": "trial-3-split2-seed4", "error": "gone"}]
    race = {
        "alpha": 0.05,
        "configurations": configurations,
        "failed": failed,
        "text": "paper has the best mean.",
    }
    return tree | {"race": race}


STATES = [
    dict,
    searched,
    all_failed,
    one_trial,
    no_trial,
    without_gold,
    every_seed_failed,
    one_seed,
    raced,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_report_in_every_state_of_a_sweep_is_whole_and_self_contained(tree, sweep, state):
    html, markdown = written(sweep(state(tree)))
    page = Page(html)
    assert not page.open
    assert not page.addresses
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.targets} <= set(page.ids)
    assert "@import" not in html
    assert "<script" not in html
    headings = re.findall(r"^## (.*)$", markdown, flags=re.MULTILINE)
    assert headings == re.findall(r"<h2>(.*)</h2>", html)
    assert headings[:2] == ["Final comparison", "The search"]


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (dict, "trial-15 is significantly better than paper"),
        (searched, "leads with an objective of 0."),
        (all_failed, "No trial finished: 16 of 16 failed."),
        (one_trial, "nothing beat the paper's configuration (objective 0.660)"),
        (no_trial, "The search hasn't finished a trial yet."),
        (without_gold, "The novel instances carry no gold relations."),
    ],
)
def test_verdict_says_what_the_sweep_has_shown_so_far(tree, sweep, state, sentence):
    report = build(read_results(sweep(state(tree))), has_config=True)
    assert sentence in report.verdict


def test_figures_show_mean_and_spread_of_best_against_the_papers(tree):
    report = build(Results(tree), has_config=True)
    best, paper = (tree["final"][index]["metrics"]["novel_test.b3_f1"] for index in (0, 2))
    assert [figure.value for figure in report.figures[:2]] == [
        f"{best['mean']:.3f} ± {best['std']:.3f}",
        f"{paper['mean']:.3f} ± {paper['std']:.3f}",
    ]
    assert report.figures[2].value.startswith("+0.0")
    assert "p < 0.001" in report.figures[2].note


def test_figures_that_keep_the_papers_configuration_show_the_runner_up_beside_it(tree):
    tree["verdict"]["best"] = tree["decision"]["choice"] = "paper"
    tree["decision"]["runner_up"] = tree["final"][1]["name"]
    labels = [figure.label for figure in build(Results(tree), has_config=True).figures]
    assert labels[:2] == [f"Runner-up: {tree['final'][1]['name']}", "Kept: the paper's configuration"]


def test_report_begins_with_the_decision_alone_and_then_gives_its_reason(tree):
    tree["verdict"] |= {
        "headline": "Use trial-3",
        "text": "Use trial-3: it won. Measured afterwards: it is better.",
    }
    report = build(Results(tree), has_config=True)
    assert report.verdict == "Use trial-3"
    assert report.notes[0] == "It won. Measured afterwards: it is better."


def test_notes_say_that_the_final_comparison_only_measured(tree):
    assert "the final comparison only measured it" in build(Results(tree), has_config=True).notes[-1]


def test_notes_say_where_runs_ended_before_they_converged(tree):
    tree["final"][0]["stop_reasons"] = ["converged", "max_epochs", "converged", "converged", "max_epochs"]
    complete = [trial for trial in tree["search"]["trials"] if trial["state"] == "complete"]
    for trial in complete[:2]:
        trial["stop_reason"] = "converged"
    for trial in complete[2:5]:
        trial["stop_reason"] = "max_epochs"
    final, search = build(Results(tree), has_config=True).notes[-2:]
    assert final.startswith(
        "2 of 5 runs on the novel relations ended at `train.max_epochs` before their pseudo labels"
    )
    assert search.startswith(
        "3 of 5 complete trials of the search ended at their last epoch before their pseudo labels"
    )


@pytest.mark.parametrize(
    ("decision", "name"),
    [(None, "paper"), ({"choice": "trial-1"}, "trial-1"), ({"choice": "paper"}, "paper")],
)
def test_choice_before_the_end_is_the_papers_unless_the_race_has_decided(tree, decision, name):
    assert Results(searched(tree) | {"decision": decision}).best_name == name


def test_report_with_names_that_are_markup_escapes_them_everywhere(tree, sweep):
    evil = '<script>alert("1")</script>$x_1$|`'
    tree["name"] = tree["final"][1]["name"] = tree["search"]["trials"][5]["error"] = evil
    tree["verdict"]["text"] = tree["objective"]["description"] = tree["data"]["format"] = evil
    tree["data"]["files"] = {evil: evil}
    tree["environment"][evil] = evil
    html, markdown = written(sweep(tree))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<script" not in markdown
    assert not Page(html).open


def test_report_of_an_oracle_sweep_stamps_everything(tree, sweep):
    tree["objective"]["stamp"] = "selected on novel gold labels"
    directory = sweep(tree)
    html, markdown = written(directory)
    assert 'class="banner"' in html
    for name in ("report.html", "report.md", "report.tex", "results.csv", "final.csv", "best_config.yaml"):
        assert "elected on novel gold labels" in (directory / name).read_text(encoding="utf-8"), name
    assert "> **Selected on novel gold labels" in markdown


@pytest.mark.parametrize("synthetic", [True, False])
def test_report_says_where_the_data_are_synthetic(tree, sweep, synthetic):
    html, markdown = written(sweep(no_trial(tree) | {"synthetic": synthetic}))
    assert ("Synthetic data" in html) is synthetic
    assert ("Synthetic data" in markdown) is synthetic


def test_report_shows_failed_seeds_and_failed_trials_with_their_cause(tree, sweep):
    html, markdown = written(sweep(tree))
    for text in (html, markdown):
        assert "4 (1 failed)" in text
        assert "out of memory: 2.1 GiB asked for" in text
        assert text.count("the loss must be finite, but is nan") >= 2


def test_report_draws_every_picture_with_its_numbers(tree, sweep):
    html, _ = written(sweep(tree))
    names = re.findall(r'<figure id="picture-([^"]+)">', html)
    assert names == [
        *("seeds", "differences", "history", "curves", "importances", "contour", "layers"),
        *("slice-0", "slice-1", "slice-3", "agreement", "spent", "time"),
    ]
    assert html.count("<svg") == html.count("<summary>Numbers</summary>") == len(names)


def test_report_with_few_complete_trials_leaves_importances_out_and_says_so(tree, sweep):
    tree["search"]["trials"] = tree["search"]["trials"][:6]
    tree["search"]["best_trial"] = 3
    html, _ = written(sweep(tree))
    assert 'id="picture-importances"' not in html
    assert "importances mean something from about 8 trials" in html


def test_report_in_incremental_mode_shows_its_metrics(tree, sweep):
    figure = {"mean": 0.5125, "std": 0.01, "n": 5, "values": [0.5125] * 5, "ci95": [0.5, 0.52]}
    for entry in tree["final"][::2]:
        entry["metrics"] |= {
            "all_test.b3_f1": figure,
            "known_accuracy": figure,
            "novel_accuracy_hungarian": figure,
        }
    _, markdown = written(sweep(tree))
    assert "| Configuration | Seeds | B³ F1 | Known accuracy | Novel accuracy (matched) |" in markdown


def test_report_written_again_without_a_final_comparison_removes_its_files(tree, sweep):
    directory = sweep(tree)
    write_report(directory)
    assert (directory / "final.csv").exists()
    write_report(sweep(no_trial(tree)))
    assert not (directory / "final.csv").exists()
    assert not (directory / "best_config.yaml").exists()
    assert not list(directory.glob(".*"))


def test_report_written_twice_is_the_same(tree, sweep):
    directory = sweep(one_trial(tree))
    assert written(directory) == written(directory)


def test_results_csv_holds_every_trial_exactly(tree, sweep):
    rows = rows_of(trials_csv(Results(tree)))
    assert [int(row["trial"]) for row in rows] == list(range(16))
    for row, trial in zip(rows, tree["search"]["trials"], strict=True):
        assert row["state"] == trial["state"]
        assert row["error"] == (trial["error"] or "")
        assert (float(row["objective"]) if row["objective"] else None) == trial["objective"]
        assert float(row["loss.center_weight"]) == trial["params"]["loss.center_weight"]
    assert [row["trial"] for row in rows if row["is_paper"] == "True"] == ["0"]


def test_final_csv_holds_every_metric_exactly_and_values_by_seed(tree, sweep):
    rows = rows_of(final_csv(Results(tree)))
    assert len(rows) == 3 * 7
    row = next(r for r in rows if r["configuration"] == "trial-7" and r["metric"] == "novel_test.ari")
    figures = tree["final"][1]["metrics"]["novel_test.ari"]
    assert (float(row["mean"]), float(row["std"]), row["num_failed_seeds"]) == (
        figures["mean"],
        figures["std"],
        "1",
    )
    assert [part.split("=")[0] for part in row["values"].split()] == ["1", "2", "4", "5"]


def test_best_config_is_taken_by_rocore_as_it_is(tree, tmp_path):
    tree["base_config"]["data"]["pseudo_novel"] = {"num_relations": 4}
    (tmp_path / "best_config.yaml").write_text(best_config(Results(tree)), encoding="utf-8")
    config, params = load_config(tmp_path / "best_config.yaml"), tree["final"][0]["params"]
    assert config.loss.center_weight == params["loss.center_weight"]
    assert config.encoder.output_layer == params["encoder.output_layer"]
    assert config.data.pseudo_novel is None


def test_best_config_without_base_config_takes_the_resolved_sweeps(tree):
    del tree["base_config"]
    text = best_config(Results(tree, sweep_yaml="base:\n  train: {max_epochs: 7}\n"))
    assert yaml.safe_load(text)["train"]["max_epochs"] == 7


def test_best_config_with_values_that_rocore_refuses_is_an_error(tree):
    tree["base_config"]["loss"] = {"pair_margin": -1}
    tree["final"][0]["params"].pop("loss.pair_margin")
    with pytest.raises(ConfigError, match="pair_margin"):
        best_config(Results(tree))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be a sweep directory that holds results.json"),
        ("{", "must be readable JSON"),
        ("[]", "must be of schema 1, but is of None"),
        ('{"schema": 2}', "must be of schema 1, but is of 2"),
    ],
)
def test_read_results_of_what_is_no_sweep_says_what_is_wrong(tmp_path, text, message):
    if text is not None:
        (tmp_path / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        read_results(tmp_path)


def test_command_rebuilds_the_report_and_names_it(tree, sweep):
    directory = sweep(no_trial(tree))
    result = CliRunner().invoke(command, [str(directory)], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(directory / "report.html")
    assert (directory / "report.html").exists()


def test_report_whose_picture_and_section_fail_holds_the_rest_and_says_so(tree, sweep, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("<b> by nothing")

    monkeypatch.setattr("tune.report.pictures_search._mark_paper", fail)
    monkeypatch.setattr("tune.report.sections_time.spent", fail)
    directory = sweep(tree)
    done = CliRunner().invoke(main, ["report", str(directory)])
    assert done.exit_code == 1
    assert "Objective over trials: ZeroDivisionError" in done.output
    for name in ("report.html", "report.md"):
        text = (directory / name).read_text("utf-8")
        assert text.count("Missing, by a mistake of this program") == 2
        assert "&lt;b&gt; by nothing" in text
        assert "Data and encoder" in text


def test_environment_comes_from_its_file_where_results_hold_none(tree, sweep):
    del tree["environment"]
    directory = sweep(no_trial(tree))
    (directory / "environment.json").write_text(json.dumps({"python": "3.11.7"}), encoding="utf-8")
    assert read_results(directory).tree["environment"] == {"python": "3.11.7"}
