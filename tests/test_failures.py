"""What an error says to a person, without what only they may know."""

import pytest

from llm.failures import describe_error, log_traceback, without_secrets

URL = "https://ann:hush0@example.org/a.zip?token=hush1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@host:80/a b", "http://host:80/a b"),
        ("see https://u@h/x?X-Amz-Signature=1#y, or 'ftp://u:p@q@h'", "see https://h/x?... or 'ftp://h'"),
        ("https://h/a#token=1", "https://h/a#..."),
        ("https://h?q=a@b/c", "https://h?..."),
        ("https://h/a@b", "https://h/a@b"),
        ("https://h:80/a@b", "https://h:80/a@b"),
        ("https://ann:pa'ss@h/a.zip is away", "https://h/a.zip is away"),
        ("'https://ann:pa'ss@h/a', \"https://ann:pa\"ss@h/a\".", "'https://h/a', \"https://h/a\"."),
        ("https://ann:pa/ss@h/a", "https://h/a"),
        ("https://ann:pa#ss@h/a", "https://h/a"),
        ("https://ann:pa?ss@h/a?token=ab'cd", "https://h/a?..."),
        ('{"url":"https://u@h/x?y=1","name":"z"}', '{"url":"https://h/x?...","name":"z"}'),
        ("mail ann@example.org", "mail ann@example.org"),
    ],
)
def test_a_text_keeps_its_words_and_loses_the_secrets_of_its_urls(text, shown):
    assert without_secrets(text) == shown


def test_the_line_of_an_error_has_no_secret_of_a_url():
    assert describe_error(ValueError(f"{URL} is away")) == "https://example.org/a.zip?... is away"


def test_a_traceback_that_is_kept_has_no_secret_of_a_url(tmp_path):
    try:
        raise ValueError(f"{URL} is away")
    except ValueError as error:
        log_traceback(error, tmp_path / "llm.log")
    kept = (tmp_path / "llm.log").read_text(encoding="utf-8")
    assert "https://example.org/a.zip?..." in kept and "hush" not in kept


def test_a_long_value_leaves_the_advice_at_the_end():
    told = describe_error(ValueError(f"column {'a' * 9000} is none: name it by columns, not {'b c ' * 2000}: see docs"))
    assert told.startswith("column aaaa") and "is none: name it by columns" in told and told.endswith(": see docs")
    assert len(told) < 5100
