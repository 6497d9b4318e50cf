"""A real TensorBoard serves what a sweep wrote: curves, the HParams table, the projector."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch

from tune.representations import Representations
from tune.tensorboard import FINAL_MEAN, FINAL_STD, OBJECTIVE, TrialLogger, write_hparams
from tune.tensorboard_representations import write_representations

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")]

SPACE = {
    "loss.center_weight": {"distribution": "log_uniform", "low": 1e-4, "high": 0.1},
    "encoder.output_layer": {"distribution": "integer", "low": 2, "high": 6},
}
PARAMS = {"loss.center_weight": 0.005, "encoder.output_layer": 4}
RUN = "0000-lambda=0.005-layer=4"
FINAL_RUN = "paper-seed1-lambda=0.005-layer=4"


def write_sweep(directory):
    for name in ("0000", "paper-seed1"):
        logger = TrialLogger(directory, name, PARAMS)
        logger.log(1, {"objective": 0.0, "loss/pair": 1.5})
        logger.log(2, {"objective": 0.61, "loss/pair": 1.0})
        logger.close()
    figures = {"mean": 0.7, "std": 0.02, "n": 3, "values": [0.68, 0.7, 0.72]}
    trials = [{"number": 0, "params": PARAMS, "objective": 0.61, "state": "complete"}]
    final = [{"name": "paper", "params": PARAMS, "seeds": [1], "metrics": {"novel_test.b3_f1": figures}}]
    write_hparams(directory, {"search": {"space": SPACE, "trials": trials}, "final": final})
    points = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).numpy()
    found = Representations(run="paper-seed1", stages={"start": points, "trained": 2 * points})
    found.labels = torch.arange(12).numpy().astype(str)
    write_representations(directory, found)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Return a function that asks a running TensorBoard for a path, by GET or (with a body) by POST."""
    directory = tmp_path_factory.mktemp("sweep")
    write_sweep(directory)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    beside = os.path.join(os.path.dirname(sys.executable), "tensorboard")  # noqa: PTH118, PTH120
    binary = shutil.which(beside) or shutil.which("tensorboard")
    log = directory / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [binary, "--logdir", directory / "tensorboard", "--port", str(port), "--host", "127.0.0.1"],
            stdout=out,
            stderr=out,
        )

    def request(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        address = urllib.request.Request(f"http://127.0.0.1:{port}/data/{path}", data, headers)
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.read().decode()

    def runs():
        try:
            return json.loads(request("runs"))
        except (urllib.error.URLError, ConnectionError):
            return []

    try:
        for _ in range(240):
            if {RUN, FINAL_RUN} <= set(runs()):
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
        yield request
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def test_tensorboard_lists_and_serves_the_scalars_of_a_trial(ask):
    tags = json.loads(ask("plugin/scalars/tags"))
    assert {"objective", "loss/pair", OBJECTIVE, FINAL_MEAN} <= set(tags[RUN])
    points = json.loads(ask(f"plugin/scalars/scalars?run={RUN}&tag=objective"))
    assert [(step, value) for _, step, value in points] == [(1, 0.0), (2, pytest.approx(0.61))]


def test_tensorboard_serves_the_hparams_with_their_domains(ask):
    body = {"experimentName": "", "hparamsLimit": 100}
    experiment = json.loads(ask("plugin/hparams/experiment", body))
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert infos["lambda"]["domainInterval"] == {"minValue": 1e-4, "maxValue": 0.1}
    assert {info["name"]["tag"] for info in experiment["metricInfos"]} >= {OBJECTIVE, FINAL_MEAN}


def test_tensorboard_serves_a_row_a_trial_with_its_final_metrics(ask):
    body = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [
            {"metric": {"tag": OBJECTIVE, "group": ""}},
            {"metric": {"tag": FINAL_MEAN, "group": ""}},
        ],
        "startIndex": 0,
        "sliceSize": 100,
    }
    groups = json.loads(ask("plugin/hparams/session_groups", body))["sessionGroups"]
    assert len(groups) == 1
    assert groups[0]["hparams"]["layer"] == 4
    assert groups[0]["sessions"][0]["status"] == "STATUS_SUCCESS"
    values = {value["name"]["tag"]: value["value"] for value in groups[0]["metricValues"]}
    assert values == pytest.approx({OBJECTIVE: 0.61, FINAL_MEAN: 0.7, FINAL_STD: 0.02})


def test_tensorboard_serves_the_projector_of_the_best_run(ask):
    assert json.loads(ask("plugin/projector/runs")) == [FINAL_RUN]
    info = json.loads(ask(f"plugin/projector/info?run={FINAL_RUN}"))
    assert [entry["tensorName"] for entry in info["embeddings"]] == ["h_start", "h_trained"]
    labels = ask(f"plugin/projector/metadata?run={FINAL_RUN}&name=h_start")
    assert labels.splitlines() == [str(number) for number in range(12)]
