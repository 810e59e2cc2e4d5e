"""What masking replaces, and the dates, versions, books and formulas that it must leave alone."""

import random
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.corpus.normalise import normalise_text
from llm.sources.masking import RULES, check_rules, mask_text

TOKEN = "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=40))
MASKED = [  # no key of these is anybody's; the cards and IBANs are the ones that their makers publish for tests
    ("email", "ann@example.com"),
    ("email", "ann.lee+books@mail.example.co.uk"),
    ("email", "ünsal@beispiel.example"),
    ("phone", "+44 20 7946 0958"),
    ("phone", "+1 (555) 010-9999"),
    ("phone", "+4930123456"),
    ("phone", "0049 30 123456"),
    ("phone", "(555) 010-9999"),
    ("phone", "555-010-9999"),
    ("key", "AKIAIOSFODNN7EXAMPLE"),
    ("key", "sk-proj-abcdefghijklmnopqrstuvwx"),
    ("key", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("key", "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"),
    ("key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAb/+=\n-----END RSA PRIVATE KEY-----"),
    ("key", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"),
    ("key", TOKEN),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82WEST12345698765432"),
    ("card", "4111 1111 1111 1111"),
    ("card", "378282246310005"),
]
KEPT = [
    "on 2019-03-01 at 12:30:00, or 01/03/2019, or 01.03.2019",
    "from 1939-1945 and 1914-1918",
    "version 3.11.7, 10.0.19045.3693 or torch==2.13.0",
    "192.168.100.200 and 255.255.255.0",
    "ISBN 978-0-306-40615-7, ISBN 9780306406157, ISBN 0-306-40615-2",
    "3.14159265358979323846 and 6.02214076e23",
    "1,000,000,000 people and 1 000 000 000 stars",
    "12345678901234567890",
    "1234567890123456 or 4111 1111 1111 1112",
    "y = x + 12345678 and 5+12345678 = 12345683",
    "arXiv:1706.03762, doi:10.1000/182-12345",
    "@decorator and a @ b, C@4 and user@host",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "self.attention_weights_of_the_first_layer_in_the_encoder_block",
    "https://example.com/a/long/path/to/Some/Page/with/2019/03/Parts",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "0000000000000000000000000000000000000000",
    "GB82 WEST 1234 5698 7654 33 has other check digits",
    "sk-learn, ghp_short, AKIA and hf_hub_download",
    "call 112 or 911, extension 555-0199",
    "it scored 21-18, 19-21, 21-15",
    "2 ** 31 - 1 = 2147483647",
]


@pytest.mark.parametrize(("rule", "secret"), MASKED)
@pytest.mark.parametrize("around", ["{}", "It is {}.", "({}), they said", "是{}。"])
def test_what_is_personal_is_replaced_and_counted(rule: str, secret: str, around: str) -> None:
    counts = Counter[str]()
    assert mask_text(around.format(secret), RULES, counts) == around.format(f"[{rule}]")
    assert counts == {f"masked_{rule}": 1}


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert mask_text(text, RULES, Counter()) == text


def test_only_the_named_rules_are_used() -> None:
    assert mask_text("ann@example.com, 555-010-9999", ["phone"], Counter()) == "ann@example.com, [phone]"
    with pytest.raises(ValueError, match="mask names names, allowed: key, email"):
        check_rules(["email", "names"])


def test_a_mask_survives_the_cleaning() -> None:
    masks = " ".join(f"[{rule}]" for rule in RULES)
    assert normalise_text(masks) == masks


@given(st.text(alphabet=st.sampled_from("ab1 @.-+(0"), max_size=60))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = mask_text(text, RULES, Counter())
    assert mask_text(once, RULES, Counter()) == once


HOSTILE = [
    "1 ",
    "a@",
    "a.",
    "a@a.",
    "+1 ",
    "1-",
    "(555) ",
    "-----BEGIN PRIVATE KEY-----",
    "eyJa",
    "A1b/",
    "DE89 ",
    "sk-a",
]


@pytest.mark.parametrize("part", HOSTILE)
def test_hostile_text_takes_no_more_than_its_length(part: str) -> None:
    """A pattern that backtracks over the whole text would need hours for these, a linear one tenths of a second."""
    text = part * (500_000 // len(part))
    assert len(mask_text(text, RULES, Counter())) <= len(text) + len("[email]")
