"""What failed and what to do, in one line, for whatever a provider's libraries raise."""

import errno
from collections.abc import Iterator
from urllib.parse import urlsplit

from llm.failures import describe_error, is_out_of_memory
from llm.fetching.download import DownloadError

ELSEWHERE = "or fetch the files elsewhere and give their local path as the location"
NETWORK = f"check network and proxy, {ELSEWHERE}"
# Class names, as importing the libraries would take seconds: httpx2's, requests', urllib3's, zlib's, datasets'.
KNOWN = {
    "OfflineModeIsEnabled": f"HF_HUB_OFFLINE forbids asking the hub, its cache holds no copy: unset it, {ELSEWHERE}",
    "ProxyError": "the proxy does not answer or refuses: check HTTPS_PROXY and ALL_PROXY",
    "TimeoutException": f"the server did not answer in time: {NETWORK}",
    "Timeout": f"the server did not answer in time: {NETWORK}",
    "TimeoutError": f"the server did not answer in time: {NETWORK}",
    "RemoteProtocolError": f"the connection broke off: {NETWORK}",
    "ChunkedEncodingError": f"the connection broke off: {NETWORK}",
    "IncompleteRead": f"the connection broke off: {NETWORK}",
    "ReadError": f"the connection broke off: {NETWORK}",
    "SSLError": "the server's certificate was not accepted: check the clock, and the certificates of a proxy",
    "ConnectError": f"no connection to the server: {NETWORK}",
    "ConnectionError": f"no connection to the server: {NETWORK}",
    "JSONDecodeError": "the answer is not what a hub says, perhaps a network's sign-in page: open the address in a "
    "browser, and check HF_ENDPOINT",
}
STATUS = {
    401: "it needs a token: set HF_TOKEN",
    403: "the token may not read it: set another HF_TOKEN",
    407: "the proxy wants user and password: set them in HTTPS_PROXY",
    429: "it was asked too often: wait some minutes, or set HF_TOKEN, which is allowed more",
}


def explain(error: Exception) -> str:
    """What failed and what to do, in one line."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            place = f" for {link.filename}" if link.filename else ""
            return f"no space is left on the disk{place}: free some, or set HF_HOME to a folder on a larger one"
        if is_out_of_memory(link):
            return describe_error(link)
    for link in chain:
        if told := _told(link):
            return told
    return describe_error(chain[0])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from, and so on; without those that only say that another one happened."""
    link: BaseException | None = error
    while link is not None:
        cause = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if cause is None or not _only_wraps(link):
            yield link
        link = cause


def _only_wraps(error: BaseException) -> bool:
    """Whether it is one of those in which `datasets` hides what happened."""
    return type(error) is ConnectionError or "DatasetBuildError" in {named.__name__ for named in type(error).__mro__}


def _told(error: BaseException) -> str | None:
    """What is known of this very error; its own words where they are the project's."""
    text = " ".join(str(error).split())
    if isinstance(error, DownloadError) or type(error) is ValueError:
        return text
    if status := getattr(getattr(error, "response", None), "status_code", None):
        advice = STATUS.get(status, f"try again later, {ELSEWHERE}" if status >= 500 else "check the parameters")
        return f"{_server(error)} answered {status}: {advice}"
    if isinstance(error, ImportError) and "socks" in text.lower():
        return f"the proxy in ALL_PROXY is a SOCKS one, which needs a package ({text}): install it, or unset ALL_PROXY"
    if isinstance(error, NotImplementedError) and "compression" in text:
        return f"the zip is packed by a method that Python does not know ({text}): unpack it and pack it again"
    if type(error).__module__ == "zlib":
        return f"compressed data are damaged ({text}): delete the file and fetch it again"
    names = [named.__name__ for named in type(error).__mro__]
    told = next((KNOWN[name] for name in names if name in KNOWN), None)
    return told and told.replace("the server", _server(error), 1)


def _server(error: BaseException) -> str:
    """Who was asked, by name where the error knows it."""
    for name in ("response", "request"):
        try:
            if host := urlsplit(str(getattr(error, name).url)).hostname:
                return host
        except (AttributeError, RuntimeError, ValueError):  # httpx2 raises the second where there is no request
            continue
    return "the server"
