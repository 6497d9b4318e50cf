"""Imports Ray: its job server. Every attempt at a sweep is a job of its own, found again by the sweep's directory."""

import asyncio
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.address import ClusterError
from cluster.sweep_line import STOP_WAIT_S

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient as Client

LOCAL = "http://127.0.0.1:8265"
"""Where a head's own job server is."""
STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
"""Ray's own default is 3 s; given with the job, it holds whoever has started the Ray."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
POLL_S = 0.5
PATIENCE_S = 120.0
"""How long a head that has just started is given to take a job."""
TOO_EARLY = "try again later"
"""What a head says whose agent hasn't come up yet."""
_OWN_LINE = re.compile(r"\bjob_manager\.py:\d+ -- ")
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Ray would take these for the address that it is given."""


@dataclass(frozen=True)
class Attempt:
    """One job of a sweep.

    Attributes:
        job: Its submission id.
        number: From 1.
        state: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        started_s: When it was submitted, in seconds since the epoch.
        ended_s: When it ended; None while it runs.
        exit_code: What its command ended with, where Ray knows it.
        message: What Ray says of its state.
    """

    job: str
    number: int
    state: str
    started_s: float | None
    ended_s: float | None
    exit_code: int | None
    message: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing runs any more."""
        return self.state in ENDED


class Jobs:
    """The job server of one Ray."""

    def __init__(self, url: str) -> None:
        """Connect.

        Args:
            url: http://host:port of the dashboard.

        Raises:
            ClusterError: If nothing answers there, or it wants a token that this machine hasn't.
        """
        self.url = url
        with self._explained(), _no_other_address():
            from ray.job_submission import JobSubmissionClient

            for module in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
                logging.getLogger(module).setLevel(logging.WARNING)
            self._client: Client = JobSubmissionClient(url)

    def ray_version(self) -> str:
        """Return the version of the Ray there: this machine's must be the same."""
        with self._explained():
            return str(self._client._server_ray_version)  # it was asked for on connecting

    def attempts(self, name: str) -> list[Attempt]:
        """Return the jobs of a sweep, oldest first; a head that was started anew knows none."""
        pattern = re.compile(re.escape(name) + r"-(\d+)")
        with self._explained():
            jobs = self._client.list_jobs()
        found = []
        for job in jobs:
            if match := pattern.fullmatch(job.submission_id or ""):
                found.append(_attempt(int(match[1]), job))
        return sorted(found, key=lambda attempt: attempt.number)

    def newest(self, name: str) -> Attempt:
        """Return the last job of a sweep.

        Raises:
            ClusterError: If there is none.
        """
        found = self.attempts(name)
        if not found:
            raise ClusterError(
                f"a job of this sweep must be known to {self.url}, but there is none; submit the sweep (a head that "
                "was started anew has forgotten earlier jobs, the sweep itself goes on)"
            )
        return found[-1]

    def submit(self, name: str, command: str, environment: Mapping[str, Any]) -> Attempt:
        """Run a command as the next attempt at a sweep.

        Args:
            name: Of the sweep.
            command: For a shell.
            environment: Ray's runtime environment.

        Raises:
            ClusterError: If an attempt still runs.
        """
        found = self.attempts(name)
        for attempt in found:
            if not attempt.has_ended:
                raise ClusterError(
                    f"a sweep must not run twice, but {attempt.job} is {attempt.state}; follow it with "
                    "`rocore cluster logs`, or end it with `rocore cluster stop`"
                )
        job = f"{name}-{found[-1].number + 1 if found else 1}"
        self._start(job, command, environment)
        return self.newest(name)

    def follow(self, job: str, write: Callable[[str], None]) -> None:
        """Hand on what a job prints, from its beginning to its end."""

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job):
                write(text)

        with self._explained():
            asyncio.run(tail())

    def stop(self, job: str) -> None:
        """Ask a job to end: its processes get SIGTERM, and SIGKILL after `STOP_WAIT_S`."""
        with self._explained():
            self._client.stop_job(job)

    def wait(self, name: str, job: str) -> Attempt:
        """Return an attempt when it has ended."""
        while True:
            attempt = next(attempt for attempt in self.attempts(name) if attempt.job == job)
            if attempt.has_ended:
                return attempt
            time.sleep(POLL_S)

    def ask(self, name: str, command: str, environment: Mapping[str, Any]) -> tuple[bool, str]:
        """Run a short command on the cluster and return whether it succeeded and what it printed; it leaves no job."""
        job = f"{name}-ask-{uuid.uuid4().hex[:8]}"
        self._start(job, command, environment)
        with self._explained():
            while (state := str(self._client.get_job_status(job).value)) not in ENDED:
                time.sleep(POLL_S)
            said = self._client.get_job_logs(job)
            self._client.delete_job(job)
        # Ray's own lines; a quick command's stand before them.
        said = said.replace(f"Running entrypoint for job {job}: {command}\n", "")
        lines = [line for line in said.splitlines() if not _OWN_LINE.search(line)]
        return state == "SUCCEEDED", "\n".join(lines)

    def _start(self, job: str, command: str, environment: Mapping[str, Any]) -> None:
        variables = {**environment.get("env_vars", {}), **STOP_WAIT}
        runtime = {**environment, "env_vars": variables}
        end = time.monotonic() + PATIENCE_S
        with self._explained():
            while True:
                try:
                    self._client.submit_job(submission_id=job, entrypoint=command, runtime_env=runtime)
                except RuntimeError as error:
                    if TOO_EARLY not in str(error) or time.monotonic() > end:
                        raise
                    time.sleep(POLL_S)
                else:
                    return

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what Ray raises into an error that says what to do."""
        import aiohttp
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(
                f"{self.url} must be asked with its Ray's token, but {_first_line(error)}; set RAY_AUTH_MODE=token, "
                "and RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token to a file with the token of that Ray"
            ) from error
        except (ConnectionError, aiohttp.ClientError, requests.RequestException) as error:
            raise ClusterError(
                f"the Ray at {self.url} must answer, but {_first_line(error)}; start it with its dashboard "
                "(`ray start --head`, with ray[default] installed), open the tunnel to it, or correct `jobs`"
            ) from error
        except RuntimeError as error:
            raise ClusterError(
                f"the job server at {self.url} must do as it is asked, but says: {_last_line(error)}"
            ) from error


@contextmanager
def _no_other_address() -> Iterator[None]:
    """Within, Ray takes the address that it is given."""
    kept = {name: os.environ.pop(name) for name in _OVERRIDES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _attempt(number: int, job: Any) -> Attempt:
    return Attempt(
        job=job.submission_id,
        number=number,
        state=str(job.status.value),
        started_s=None if job.start_time is None else job.start_time / 1000,
        ended_s=None if not job.end_time else job.end_time / 1000,
        exit_code=job.driver_exit_code,
        message=job.message or "",
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return ": ".join(line.strip(": ") for line in text.splitlines()[:2] if line.strip())


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1].rstrip(".") if lines else type(error).__name__
