import pytest

from llm.app.guard import check_request, is_own_name
from llm.app.limits import MAX_BODY


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("127.0.0.1:8000", True), ("localhost:8000", True), ("LOCALHOST", True), ("[::1]:8000", True),
        ("192.168.1.7:8000", True), ("box:8000", True), ("evil.example", False), ("localhost.evil.example", False),
        ("", False), ("127.0.0.1.evil.example", False), ("[::1", False), ("user@evil.example:80", False),
        ("user@localhost", False), ("evil.example\\@localhost", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_only_addresses_and_own_names_are_answered(asked, own):
    assert is_own_name(asked, "box") == own


@pytest.mark.parametrize(
    ("method", "origin", "status"),
    [
        ("POST", None, None), ("POST", "http://localhost:8000", None), ("POST", "http://localhost:9", 403),
        ("POST", "https://evil.example", 403), ("POST", "null", 403), ("POST", "http://[", 403),
        ("POST", "http://a@localhost:8000", 403), ("OPTIONS", "https://evil.example", 403),
        ("GET", "https://evil.example", None),  # it cannot read the answer
    ],
)  # fmt: skip
def test_a_page_of_another_origin_sends_nothing(method, origin, status):
    headers = {"host": "localhost:8000"} | ({"origin": origin} if origin else {})
    refusal = check_request(method, headers, "127.0.0.1")
    assert (refusal and refusal[0]) == status


@pytest.mark.parametrize(
    ("length", "status"),
    [(str(MAX_BODY), None), (str(MAX_BODY + 1), 413), ("-1", 413), ("\N{SUPERSCRIPT TWO}", 413), ("9" * 5000, 413)],
)
def test_a_length_beyond_the_limit_is_refused(length, status):
    refusal = check_request("POST", {"host": "localhost", "content-length": length}, "127.0.0.1")
    assert (refusal and refusal[0]) == status
