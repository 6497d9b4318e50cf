import errno

import pytest

from rocore import patience
from rocore.errors import DiskFullError, StorageAwayError, StorageError
from rocore.patience import PATIENCE_S, patiently, without_secrets
from tests.conftest import CREDENTIALS, SECRET

REFUSED = (
    "When reading information for key 'a' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject operation: "
    "curlCode: 7, Could not connect to server"
)
PASSING = [
    OSError(REFUSED),
    OSError("AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 28, Timeout was reached"),
    OSError("AWS Error INTERNAL_FAILURE during ListObjectsV2 operation: try later"),
    OSError("AWS Error SLOW_DOWN during UploadPart operation: reduce your request rate"),
    OSError("AWS Error UNKNOWN (HTTP status 502) during HeadObject operation: No response body."),
    OSError("AWS Error UNKNOWN (HTTP status 429) during HeadObject operation: No response body."),
    OSError("google::cloud::Status(UNAVAILABLE: Retry policy exhausted)"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
]
LASTING = [
    FileNotFoundError(errno.ENOENT, "Path does not exist 'b/a'"),
    PermissionError(errno.EACCES, "Permission denied"),
    NotADirectoryError(errno.ENOTDIR, "Not a directory"),
    OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body."),
    OSError("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: it does not exist"),
    OSError("AWS Error SIGNATURE_DOES_NOT_MATCH during ListObjectsV2 operation: check your key"),
    OSError("AWS Error UNKNOWN (HTTP status 400) during ListObjectsV2 operation: ExpiredToken"),
    OSError("AWS Error UNKNOWN (HTTP status 301) during HeadObject operation: No response body."),
    OSError("google::cloud::Status(PERMISSION_DENIED: no access)"),
]


class Clock:
    """Time passes by sleeping, and by what attempts take."""

    def __init__(self):
        self.now, self.pauses = 1000.0, []

    def monotonic(self):
        return self.now

    def sleep(self, pause):
        self.pauses.append(pause)
        self.now += pause


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


def failing(*errors):
    """Return an action that raises these and then says yes."""
    left = list(errors)

    def act():
        if left:
            raise left.pop(0)
        return "yes"

    return act


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_patiently_tries_again_what_passes(clock, error, caplog):
    assert patiently("s3://b", "read a", failing(error, error, error)) == "yes"
    assert clock.pauses == [0.25, 0.5, 1.0]
    assert [record.message.split(" (")[0] for record in caplog.records] == ["s3://b is away"]


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_patiently_gives_up_at_once_where_it_would_fail_again(clock, error):
    with pytest.raises(
        StorageError, match=r"possible to read a in s3://b, but .*; check the name, and the cred"
    ):
        patiently("s3://b", "read a", failing(error))
    assert clock.pauses == []


def test_patiently_gives_up_when_its_patience_is_at_an_end(clock):
    with pytest.raises(StorageAwayError, match=r"curlCode: 7, .*; it was asked for 180 s: check the address"):
        patiently("s3://b", "read a", failing(*[OSError(REFUSED)] * 1000))
    assert PATIENCE_S - 8 <= clock.now - 1000 <= PATIENCE_S
    assert max(clock.pauses) == 8.0


def test_patiently_counts_from_the_last_long_attempt(clock):
    try_to = failing(*[OSError(REFUSED)] * 5)

    def upload():
        clock.now += 100.0
        return try_to()

    assert patiently("s3://b", "write a", upload) == "yes"
    assert clock.pauses == [0.25] * 5


def test_patiently_with_a_full_disk_says_so(clock):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DiskFullError, match="No space left on device; free some space"):
        patiently("file:///a", "write a", failing(full))


def test_patiently_says_no_credentials_that_a_server_repeats(clock, monkeypatch, caplog):
    for name, value in {**CREDENTIALS, "AWS_ACCESS_KEY_ID": "AKIDOFTHETESTS"}.items():
        monkeypatch.setenv(name, value)
    said = f"AWS Error {{}} during GetObject operation: AKIDOFTHETESTS and {SECRET} don't go together"
    with pytest.raises(StorageError, match=r"\*\*\* and \*\*\* don't") as raised:
        patiently(
            "s3://b",
            "read a",
            failing(OSError(said.format("SLOW_DOWN")), OSError(said.format("ACCESS_DENIED"))),
        )
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert SECRET not in caplog.text + str(raised.value)
    assert "AKID" not in caplog.text + str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:secret@bucket/a is", "s3://***@bucket/a is"),
        ("s3://b/a?access_key=K&region=r", "s3://b/a?access_key=***&region=r"),
        (
            "http://h/a?X-Amz-Signature=12&X-Amz-Credential=k",
            "http://h/a?X-Amz-Signature=***&X-Amz-Credential=***",
        ),
        ("s3://bucket/monkey?region=eu", "s3://bucket/monkey?region=eu"),
    ],
)
def test_without_secrets_leaves_the_rest(text, expected):
    assert without_secrets(text) == expected
