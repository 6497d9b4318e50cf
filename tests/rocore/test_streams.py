"""Streams whose reader leaves, and text that their encoding lacks."""

import io
import os
import sys

import pytest

from rocore import streams


@pytest.fixture
def pipe():
    """The two ends of a pipe; the writing one as a text stream."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w", encoding="utf-8")
    yield reading, stream
    stream.close()


def test_outlive_readers_lets_writing_go_on_after_the_reader_left_and_says_so(pipe, monkeypatch, tmp_path):
    reading, stream = pipe
    with (tmp_path / "errors").open("w") as errors:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", errors)
        streams.outlive_readers()
        sys.stdout.write("read\n")
        assert os.read(reading, 100) == b"read\n"
        os.close(reading)
        for _ in range(3):
            sys.stdout.write("lost\n")
            sys.stdout.flush()
    said = (tmp_path / "errors").read_text()
    assert said == "nobody reads standard output any more; the work goes on\n"


def test_outlive_readers_where_streams_have_no_file_leaves_them(monkeypatch):
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    monkeypatch.setattr(sys, "stderr", own)
    streams.outlive_readers()
    assert sys.stdout is sys.stderr is own


def test_has_reader_of_a_pipe_tells_whether_it_is_read(pipe):
    reading, stream = pipe
    assert streams.has_reader(stream)
    os.close(reading)
    assert not streams.has_reader(stream)
    streams.discard(stream)
    stream.write("goes nowhere")
    stream.flush()


@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf-8", True), ("UTF8", True), ("ascii", False), ("latin-1", False)]
)
def test_is_utf8_of_a_stream(encoding, expected):
    assert streams.is_utf8(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is expected


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_write_any_text_of_names_in_no_encoding_never_fails(encoding, monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
    streams.write_any_text()
    sys.stdout.write("é 出 \udcff\n")
    sys.stdout.flush()
    assert (
        buffer.getvalue().decode(encoding)
        == {"ascii": "? ? ?\n", "latin-1": "é ? ?\n", "utf-8": "é 出 ?\n"}[encoding]
    )
