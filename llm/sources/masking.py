"""Personal data and secrets in texts, replaced by what they were: `[email]`. Precise rather than complete.

Each rule looks for what is hardly ever anything else; names, addresses and birthdays it leaves to people. All patterns
take linear time: no part of one can match what the part after it also matches.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

# Bits a character: random base64 of 40 characters has about 4.9, random hex about 3.8, words and paths run lower.
MIN_HEX_ENTROPY, MIN_TOKEN_ENTROPY = 3.0, 4.2

# ASCII: a letter of a script without spaces between words, before or after, does not hide what is looked for.
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]{0,40})PRIVATE KEY-----[^-]*(?:-----END \1PRIVATE KEY-----)?")
_KEY = re.compile(
    r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|sk-[A-Za-z0-9_-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|github_pat_\w{30,}|glpat-[\w-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[\w-]{40,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})(?![\w-])",
    re.ASCII,
)
_TOKEN = re.compile(r"(?<![\w/+=.-])[A-Za-z0-9_+/-]{32,}={0,2}(?![\w/+=])", re.ASCII)
_EMAIL = re.compile(r"(?<![\w.+%À-ɏ-])[\w.+%À-ɏ-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}(?!\w)", re.ASCII)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", re.ASCII)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)", re.ASCII)
_PHONE = re.compile(
    r"(?<![\w.+/=^*-])(?:\+|00(?=[1-9]))\d(?:[ ./-]{0,2}(?:\(\d{1,4}\)|\d)){6,14}(?![\w-]|[./]\d)", re.ASCII
)
_PHONE_US = re.compile(r"(?<![\w.+-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w-]|[.]\d)", re.ASCII)


def _entropy(text: str) -> float:
    """Shannon entropy of the text's characters in bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _is_secret(token: str) -> bool:
    """Whether a long word is a random one: hexadecimal digits, or letters of both cases mixed with digits."""
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", token):
        return not token.isdigit() and _entropy(token) >= MIN_HEX_ENTROPY
    kinds = (re.search(kind, token) for kind in (r"[a-z]", r"[A-Z]", r"[0-9]"))
    return all(kinds) and token.count("/") <= len(token) // 16 and _entropy(token) >= MIN_TOKEN_ENTROPY


def _is_card(number: str) -> bool:
    """Whether the digits pass Luhn's check (ISO/IEC 7812-1) and begin as a payment card's; no ISBN-13 does."""
    digits = [int(digit) for digit in re.sub(r"\D", "", number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return digits[0] in (3, 4, 5, 6) and (sum(digits[::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


def _is_iban(text: str) -> bool:
    """Whether the check digits of ISO 13616 are right: the number, moved by four and in digits, is 1 modulo 97."""
    plain = text.replace(" ", "")
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    return 8 <= sum(sign.isdigit() for sign in text) <= 15  # E.164


RULES: dict[str, tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]] = {
    "key": ((_PRIVATE_KEY, bool), (_KEY, bool), (_TOKEN, _is_secret)),
    "email": ((_EMAIL, lambda text: not text.rpartition(".")[2].isdigit()),),
    "iban": ((_IBAN, _is_iban),),
    "card": ((_CARD, _is_card),),
    "phone": ((_PHONE, _is_phone), (_PHONE_US, bool)),
}


def mask_text(text: str, rules: Iterable[str], counts: Counter[str]) -> str:
    """The text with each find of the rules replaced by the rule's name in brackets; finds are counted as masked_NAME.

    >>> mask_text("Write to ann@example.com or call +44 20 7946 0958.", RULES, Counter())
    'Write to [email] or call [phone].'
    """
    for name in rules:
        for pattern, is_meant in RULES[name]:
            text = pattern.sub(lambda found: _replace(found, name, is_meant, counts), text)  # noqa: B023 (used at once)
    return text


def _replace(found: re.Match[str], name: str, is_meant: Callable[[str], bool], counts: Counter[str]) -> str:
    if not is_meant(found[0]):
        return found[0]
    counts[f"masked_{name}"] += 1
    return f"[{name}]"


def check_rules(rules: Sequence[str]) -> None:
    """Raise ValueError unless each is the name of a rule."""
    if unknown := [rule for rule in rules if rule not in RULES]:
        raise ValueError(f"mask names {unknown[0]}, allowed: {', '.join(RULES)}, or none of them: []")
