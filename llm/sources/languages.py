"""Which scripts and, roughly, which languages a text is in: by its letters, and by the commonest words of a few."""

import re
import unicodedata
from collections import Counter
from functools import cache

# Ten or so of the commonest words of each language that the others do not have, or have rarely.
COMMON_WORDS = {
    "English": "the and of is that you it what with for this are was have",
    "German": "der und ist das nicht ich den ein zu mit auf für sie wie",
    "French": "les est des une pas vous dans pour que qui sur avec je ce",
    "Spanish": "el los las una por con del y qué como para más pero está",
    "Italian": "il che di per una non sono della gli è con anche come più",
    "Portuguese": "os não uma por com do da em você mais como para são é",
    "Dutch": "het een van en dat niet ik de je wat met voor maar zijn",
}
MIN_SHARE = 0.05  # of the commonest words found, below which a language is not named: chance and quotations

_SCRIPT_NAMES = {"CJK": "Chinese characters", "HIRAGANA": "Japanese kana", "KATAKANA": "Japanese kana"}
# A character of a script without spaces is a word, for want of a better rule.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_LANGUAGES_OF = {
    word: [language for language, words in COMMON_WORDS.items() if word in words.split()]
    for word in " ".join(COMMON_WORDS.values()).split()
}


def count_words(text: str) -> Counter[str]:
    """How often each word, in lower case, occurs; a Chinese or Japanese character is one.

    >>> count_words("It's 3 o'clock, 三点").total()
    7
    """
    return Counter(_WORD.findall(text.lower()))


@cache
def _script(sign: str) -> str | None:
    if not sign.isalpha():
        return None
    name = unicodedata.name(sign, "UNKNOWN").split()[0]
    return _SCRIPT_NAMES.get(name, f"{name.capitalize()} script")


def describe_languages(signs: Counter[str], words: Counter[str]) -> str:
    """The scripts by their share of the letters; for the Latin one, the languages whose commonest words occur.

    >>> text = "what is that? 猫"
    >>> describe_languages(Counter(text), count_words(text))
    'Latin script 91%, by its commonest words English; Chinese characters 9%'
    """
    letters = Counter[str]()
    for sign, n in signs.items():
        if script := _script(sign):
            letters[script] += n
    total = letters.total()
    parts = []
    for script, n in letters.most_common():
        if n >= 0.005 * total:
            named = _latin_languages(words) if script == "Latin script" else ""
            parts.append(f"{script} {n / total:.0%}{named}")
    return "; ".join(parts) or "no letters"


def _latin_languages(words: Counter[str]) -> str:
    """Languages by their share of the common words that are of one language alone."""
    found = Counter[str]()
    for word, languages in _LANGUAGES_OF.items():
        for language in languages:
            found[language] += words[word] if len(languages) == 1 else 0
    named = [(language, n / found.total()) for language, n in found.most_common() if n >= MIN_SHARE * found.total() > 0]
    if not named:
        return ", of which language its commonest words do not say"
    shares = [language if len(named) == 1 else f"{language} ({share:.0%})" for language, share in named]
    return f", by its commonest words {', '.join(shares)}"
