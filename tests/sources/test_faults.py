"""The line in which a provider's failure is told: of the real clients against a stand-in of the hub, and of others."""

import errno
import io
import subprocess
import sys
import zipfile
import zlib

import httpx2
import pytest
import requests
from datasets.exceptions import DatasetGenerationError

from llm.fetching.download import DownloadError
from llm.sources.collect import collect
from llm.sources.faults import explain
from tests.sources.fault_table import CASES

TOLD = {
    "unknown data set": "the parameter location is nobody/nothing, which is neither here nor on the Hugging Face hub",
    "unknown revision": "the parameter revision is abc123, which sentence-transformers/eli5 does not have",
    "unknown config": "the parameter config is triplet: BuilderConfig 'triplet' not found. Available: ['pair']",
    "private": "or private: correct it, or set HF_TOKEN to a token that may read it",
    "gated": "sentence-transformers/eli5 is given only to whom its owners allow",
    "429, too many requests": "127.0.0.1 answered 429: it was asked too often: wait some minutes, or set HF_TOKEN",
    "503 of the whole hub": "127.0.0.1 answered 503: try again later",
    "503 of a file": "127.0.0.1 answered 503: try again later",
    "slow link": "127.0.0.1 did not answer in time: check network and proxy",
    "connection cut": "the connection broke off: check network and proxy",
    "file shorter than listed": "the connection broke off: check network and proxy",
    "sign-in page of a network": "the answer is not what a hub says, perhaps a network's sign-in page",
    "Git LFS pointer": "not a whole parquet file, damaged or another thing (a Git LFS pointer, a web page)",
    "no shard": "holds no files of rows",
    "renamed column": "row 1 has no column answer, only question, response",
    "damaged JSON line": "sentence-transformers/eli5 is damaged after row 0",
    "half of the answers null": "50 of 100 rows cannot be read, more than 20%; the first is sentence-transformers/eli5",
    "no network": "no connection to 127.0.0.1: check network and proxy",
    "offline, nothing cached": "HF_HUB_OFFLINE forbids asking the hub, its cache holds no copy",
    "SOCKS proxy without its package": "the proxy in ALL_PROXY is a SOCKS one, which needs a package",
    "proxy that does not answer": "no connection to ",
}


@pytest.fixture(scope="module")
def table():
    """The line of each case, from the command that prints them, a process of its own: imports read the address."""
    command = [sys.executable, "-m", "tests.sources.fault_table"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_a_fault_of_the_hub_is_told_in_one_line_that_says_what_to_do(table, name):
    assert table[name].startswith("    mine: eli5 failed: ")
    assert TOLD[name] in table[name]


def raised(error, cause=None):
    """The error as one that was raised from another."""
    try:
        raise error from cause
    except Exception as caught:
        return caught


def deflate64() -> Exception:
    """What reading a zip member gives that is packed by deflate64."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "a" * 100)
    content = bytearray(packed.getvalue())
    content[8] = 9  # of the member
    content[content.index(b"PK\1\2") + 10] = 9  # of the directory at the end
    try:
        zipfile.ZipFile(io.BytesIO(content)).read("a.txt")
    except NotImplementedError as error:
        return error
    raise AssertionError("Python reads deflate64")


FULL = OSError(errno.ENOSPC, "No space left on device", "/cache/eli5.arrow")
REQUEST = httpx2.Request("GET", "https://huggingface.co/a")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            raised(DatasetGenerationError("An error occurred"), FULL),
            "no space is left on the disk for /cache/eli5.arrow",
        ),
        (raised(DatasetGenerationError("An error occurred"), TypeError("wrong")), "TypeError: wrong"),
        (raised(DatasetGenerationError("An error occurred")), "DatasetGenerationError: An error occurred"),
        (raised(OSError("odd"), FULL), "set HF_HOME to a folder on a larger one"),
        (httpx2.ReadTimeout("timed out", request=REQUEST), "huggingface.co did not answer in time"),
        (raised(ConnectionError("Server Disconnected"), httpx2.ReadTimeout("timed out")), "the server did not answer"),
        (requests.exceptions.ReadTimeout("timed out"), "the server did not answer in time"),
        (requests.exceptions.ChunkedEncodingError("cut"), "the connection broke off"),
        (zlib.error("Error -3 while decompressing data"), "compressed data are damaged"),
        (deflate64(), "the zip is packed by a method that Python does not know"),
        (DownloadError("the file is gone;\n correct it"), "the file is gone; correct it"),
        (KeyError("answer"), "KeyError: 'answer'"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_other_libraries_raise_is_told_in_one_line(error, told):
    line = explain(error)
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error", [DatasetGenerationError("x"), TypeError("x"), zlib.error("x"), KeyError("x"), IndexError("x")]
)
def test_whatever_a_provider_raises_the_next_one_serves(error, caplog):
    from tests.sources.test_collect import corpus

    def broken():
        raise error

    found = collect("mine", {"a": broken, "b": lambda: corpus("b", 2)}, ["a", "b"], fallback=True, limit=9)
    assert [entry["provider"] for entry in found.provenance["failed"]] == ["a"]
    assert not any(record.exc_info for record in caplog.records)  # the console shows one line
    with pytest.raises(ValueError, match=r"mine: a failed: .*or go on with b by fallback: true"):
        collect("mine", {"a": broken, "b": lambda: corpus("b", 2)}, ["a", "b"], fallback=False, limit=9)


def test_ctrl_c_in_a_provider_is_no_failure():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect("mine", {"a": interrupted, "b": interrupted}, ["a", "b"], fallback=True, limit=9)
