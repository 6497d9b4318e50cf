"""`rocore cluster job` before a job server that answers as it is told; a real one is in test_ray_jobs."""

import os
import subprocess
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from cluster import job_commands
from cluster.address import ClusterError
from cluster.job_commands import job
from cluster.ray_jobs import Jobs
from cluster.sweep_line import sweep_name

OUT = "/nowhere/a"
NAME = sweep_name(OUT)


class Server:
    """Stands in for Ray's client."""

    def __init__(self, *jobs):
        self.jobs = [
            SimpleNamespace(
                submission_id=name,
                status=SimpleNamespace(value=state),
                start_time=1_000_000,
                end_time=None if state == "RUNNING" else 2_000_000,
                driver_exit_code=code,
                message="the reason",
            )
            for name, state, code in jobs
        ]
        self.submitted, self.stopped, self.refusals = [], [], 0

    def list_jobs(self):
        return self.jobs

    def submit_job(self, submission_id, entrypoint, runtime_env):
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("No available agent to submit job, please try again later.")
        self.submitted.append((submission_id, entrypoint, runtime_env))
        self.jobs += Server((submission_id, "PENDING", None)).jobs

    def stop_job(self, name):
        self.stopped.append(name)
        for each in self.jobs:
            if each.submission_id == name:
                each.status.value = "STOPPED"

    async def tail_job_logs(self, name):
        for text in (f"{name} ", "said\n", "this\n"):
            yield text


@pytest.fixture
def serve(monkeypatch):
    """Return a function that makes the commands speak to a server with these jobs."""

    def install(*jobs):
        server = Server(*jobs)

        def connect(url):
            speaker = object.__new__(Jobs)
            speaker.url, speaker._client = url, server
            return speaker

        monkeypatch.setattr(job_commands, "_jobs", connect)
        monkeypatch.setattr("cluster.ray_jobs.POLL_S", 0)
        return server

    return install


def invoke(*arguments):
    return CliRunner().invoke(job, arguments, catch_exceptions=False)


def test_submit_begins_with_attempt_one_and_gives_the_sweep_time_to_stop(serve):
    server = serve((f"{sweep_name('/other')}-7", "RUNNING", None), (None, "RUNNING", None))
    assert invoke("submit", OUT, "echo").stdout == f"{NAME}-1: PENDING\n"
    ((name, command, environment),) = server.submitted
    assert (name, command) == (f"{NAME}-1", "echo")
    assert environment == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}}


def test_submit_after_attempts_that_ended_takes_the_next_number(serve):
    server = serve(
        (f"{NAME}-10", "FAILED", 1), (f"{NAME}-9", "STOPPED", None), (f"{NAME}-ask-1", "RUNNING", None)
    )
    invoke("submit", OUT, "echo")
    assert server.submitted[0][0] == f"{NAME}-11"


@pytest.mark.parametrize("state", ["RUNNING", "PENDING"])
def test_submit_while_an_attempt_goes_on_is_refused(serve, state):
    server = serve((f"{NAME}-1", "FAILED", 1), (f"{NAME}-2", state, None))
    with pytest.raises(ClusterError, match=f"a sweep must not run twice, but {NAME}-2 is {state}; follow it"):
        invoke("submit", OUT, "echo")
    assert server.submitted == []


def test_submit_to_a_head_that_has_just_started_is_tried_again(serve):
    server = serve()
    server.refusals = 2
    assert invoke("submit", OUT, "echo").exit_code == 0
    assert len(server.submitted) == 1


def test_submit_that_the_server_refuses_says_why(serve, monkeypatch):
    server = serve()

    def refuse(**_):
        raise RuntimeError("Traceback ...\nValueError: no such thing.\n.")

    monkeypatch.setattr(server, "submit_job", refuse)
    with pytest.raises(ClusterError, match="must do as it is asked, but says: ValueError: no such thing"):
        invoke("submit", OUT, "echo")


@pytest.mark.parametrize(
    ("state", "code", "exit_code"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", None, 1), ("STOPPED", None, 130)],
)
def test_logs_are_the_newest_attempts_and_end_with_its_exit_code(serve, state, code, exit_code):
    serve((f"{NAME}-1", "FAILED", 1), (f"{NAME}-2", state, code))
    result = invoke("logs", OUT)
    assert (result.exit_code, result.stdout) == (exit_code, f"{NAME}-2 said\nthis\n")
    assert result.stderr == f"{NAME}-2: {state}\n"


def test_logs_that_are_left_say_that_the_sweep_goes_on(serve, monkeypatch):
    serve((f"{NAME}-1", "RUNNING", None))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "follow", interrupted)
    result = invoke("logs", OUT)
    assert result.exit_code == 0
    assert f"{NAME}-1 goes on; the same command follows it again" in result.stderr


@pytest.mark.parametrize("verb", ["logs", "status", "stop"])
def test_sweep_that_was_never_submitted_is_named(serve, verb):
    serve()
    with pytest.raises(
        ClusterError, match=r"a job of this sweep must be known .*, but there is none; submit the sweep"
    ):
        invoke(verb, OUT)


def test_status_shows_every_attempt(serve):
    serve((f"{NAME}-2", "RUNNING", None), (f"{NAME}-1", "FAILED", None))
    result = invoke("status", OUT)
    assert result.exit_code == 1  # nobody could say how the sweep stands
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{NAME}-1: FAILED, since 1970-01-01")
    assert first.endswith(", the reason")
    assert second.startswith(f"{NAME}-2: RUNNING, since 1970-01-01")


@pytest.mark.parametrize(("code", "said"), [(0, "here"), (1, "there")])
def test_status_asks_the_cluster_where_this_machine_can_not_tell(serve, monkeypatch, tmp_path, code, said):
    serve((f"{sweep_name(str(tmp_path))}-1", "RUNNING", None))
    done = subprocess.CompletedProcess([], code, stdout="here\n", stderr="")
    monkeypatch.setattr(job_commands.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(Jobs, "ask", lambda *_: (True, "there\n"))
    result = invoke("status", str(tmp_path), "rocore sweep status")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, said)


def test_stop_waits_for_the_end_and_shows_the_last_words(serve):
    server = serve((f"{NAME}-1", "RUNNING", None))
    result = invoke("stop", OUT)
    assert server.stopped == [f"{NAME}-1"]
    assert result.stdout.startswith(f"{NAME}-1 said\nthis\n{NAME}-1: STOPPED")


def test_stop_of_a_sweep_that_has_ended_only_says_so(serve):
    server = serve((f"{NAME}-1", "SUCCEEDED", 0))
    assert "SUCCEEDED" in invoke("stop", OUT).stdout
    assert server.stopped == []


def test_server_that_does_not_answer_is_named():
    with pytest.raises(
        ClusterError, match=r"the Ray at http://127\.0\.0\.1:9 must answer, but Failed to connect"
    ):
        Jobs("http://127.0.0.1:9")


def test_address_of_the_server_is_not_overridden_by_rays_environment(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:7")
    with pytest.raises(ClusterError, match=r"http://127\.0\.0\.1:9 must answer"):
        Jobs("http://127.0.0.1:9")
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:7"
