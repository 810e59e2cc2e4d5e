"""Questions about PyTorch and scikit-learn, answered by the descriptive part of their docstrings."""

import hashlib
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from llm.dialogue import Dialogue
from llm.ranges import check_sha256
from llm.sources import Corpus
from llm.sources.docstrings import read_docstrings, sentences, without_gaps

NAMES = Path(__file__).with_name("docs_names.txt")
MIN_DOCSTRING_WORDS = 30
MIN_ANSWER_WORDS, MAX_ANSWER_WORDS = 20, 130
LIBRARIES = {"torch": "PyTorch", "sklearn": "scikit-learn"}
LICENCE = "BSD-3-Clause (PyTorch, scikit-learn)"
_PREFIX = re.compile(r"^(?:Lazy|Adaptive|Fractional|Halving|MiniBatch|nan)")
_SUFFIX = re.compile(r"(?:_ex|_factor|_solve|_tensor|_score|_loss|Loss|CV|_?\d[dD]|_)$")
QUESTIONS = (
    "What does {name} do?",
    "Can you explain {name} to me?",
    "I keep running into {name} in {library} code. What is it for?",
    "In {library}, what is {name}?",
    "What should I know about {name} before I use it?",
    "{name}: what is that good for?",
    "How would you describe {name} to somebody who is new to {library}?",
    "A tutorial calls {name} without any comment. What happens there?",
    "Please tell me what {library}'s {name} is about.",
    "I am reading a {library} script and found {name}. What is going on?",
    "Could you say in a few sentences what {name} does?",
    "My colleague told me to look at {name}. What would I use it for?",
    "Remind me, what was {name} again?",
    "What is the purpose of {name} in {library}?",
    "When I call {name}, what do I get?",
    "Which job does {name} have in {library}?",
    "Someone in a code review suggested {name}. What is it?",
    "Give me the short version: what is {name}?",
    "Why would anybody reach for {name}?",
    "Is {name} something I need? What does it do?",
    "The name {name} tells me nothing. Can you help?",
    "Before I copy this line with {name}, what does it mean?",
    "So {library} has {name}. What does that mean in plain words?",
    "Tell me about {name}.",
)


def third_person(verb: str) -> str:
    """The form after he, she, it: apply, applies."""
    if verb.endswith("y"):
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "ch", "sh")) else "s")


# An answer that opens with a verb ("Applies a ...", "Compute the ...") gets the name as its subject.
_VERBS = (
    "adjust allow apply approximate assign bin binarize block broadcast build calculate center checkpoint clip "
    "combine compute concatenate construct convert count create decay determine disable discretize distribute "
    "draw embed enable encode estimate evaluate expand export extract fetch fill find fit flatten flip gather "
    "generate hold implement impute initialize learn load make map measure move multiply normalize pack pad "
    "perform plot predict prune reduce reinterpret release repeat represent rescale return round run sample save "
    "scale scatter select set solve split standardize sum swap synchronize take test transform unpack update warp "
    "wrap"
)
_THIRD_PERSON = {verb: third_person(verb) for verb in _VERBS.split()}


@dataclass(frozen=True)
class DocsConfig:
    """Which corpus is expected."""

    sha256: str | None  # of the corpus; None: not checked

    def __post_init__(self) -> None:
        check_sha256("sha256", self.sha256)


def read_docs(config: DocsConfig, source: str) -> Corpus:
    """Question and answer for every name of docs_names.txt whose docstring explains enough.

    Raises ValueError when other library versions give another corpus than the expected one.
    """
    packages = (f"{name} {version(name).partition('+')[0]}" for name in ("torch", "scikit-learn"))  # 2.13.0+cpu: 2.13.0
    location = f"docstrings of {' and '.join(packages)}"
    texts = read_texts({library: _folder(library) for library in LIBRARIES})
    answers, counts = make_answers(texts)
    dialogues = [
        Dialogue(f"docs-{name}", source, family(name), (make_question(name), answer))
        for name, answer in answers.items()
    ]
    sha256 = hashlib.sha256("\n".join(f"{d.id}\t{d.turns[0]}\t{d.turns[1]}" for d in dialogues).encode()).hexdigest()
    if config.sha256 is not None and sha256 != config.sha256:
        raise ValueError(
            f"the {location} give the corpus {sha256}, expected {config.sha256}; "
            f"install the versions of requirements.lock, or set docs.sha256 to null"
        )
    return Corpus(dialogues, location, LICENCE, sha256, counts=counts)


def read_names() -> Iterator[tuple[str, str, list[str]]]:
    """Of each line of docs_names.txt: where a user finds the names, the source file they stand in, the names."""
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            module, file, *names = line.split()
            yield module, file, names


def read_texts(folders: Mapping[str, Path]) -> dict[str, str]:
    """Docstring by public name ("torch.nn.LSTM") of everything docs_names.txt lists and the sources have.

    `folders` holds the folder of each library's package.
    """
    read = cache(read_docstrings)
    texts: dict[str, str] = {}
    for module, file, names in read_names():
        library, _, inside = file.partition("/")
        docstrings = read(folders[library] / inside)
        texts |= {f"{module}.{name}": docstrings[name] for name in names if name in docstrings}
    return texts


def make_answers(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, int]]:
    """Answer by name, and how many docstrings were left out and why.

    Sentences that stand in two or more docstrings are boilerplate and left out everywhere.
    """
    counts = {"rows": len(texts), "short_docstrings": 0, "short_answers": 0, "shared_sentences": 0}
    parts = {name: sentences(text) for name, text in texts.items()}
    times = Counter(sentence for found in parts.values() for sentence in set(found) if sentence)
    counts["shared_sentences"] = sum(n > 1 for n in times.values())
    answers = {}
    for name, found in parts.items():
        own = without_gaps([sentence if times[sentence] == 1 else "" for sentence in found])
        answer = " ".join(_within(own, MAX_ANSWER_WORDS))
        if _words(texts[name]) < MIN_DOCSTRING_WORDS:
            counts["short_docstrings"] += 1
        elif _words(answer) < MIN_ANSWER_WORDS:
            counts["short_answers"] += 1
        else:
            answers[name] = with_subject(name.rpartition(".")[2], answer)
    return answers, counts


def make_question(name: str) -> str:
    """A question about a name; which of the phrasings is decided by the name alone.

    >>> make_question("torch.nn.LSTM") == make_question("torch.nn.LSTM")
    True
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return QUESTIONS[number % len(QUESTIONS)].format(name=name, library=LIBRARIES[name.partition(".")[0]])


def with_subject(name: str, answer: str) -> str:
    """The answer as a sentence about the name.

    >>> with_subject("LSTM", "Apply a recurrent layer."), with_subject("Identity", "A placeholder.")
    ('LSTM applies a recurrent layer.', 'Identity is a placeholder.')
    """
    first, _, rest = answer.partition(" ")
    verb = _THIRD_PERSON.get(first.lower(), first.lower())
    if verb in _THIRD_PERSON.values():
        return f"{name} {verb} {rest}"
    if first in ("A", "An"):
        return f"{name} is {first.lower()} {rest}"
    return answer


def family(name: str) -> str:
    """The group of a name: library and root of the object's name, so that twins and variants stay together.

    >>> family("torch.nn.Dropout2d"), family("torch.nn.functional.dropout"), family("torch.linalg.lu_factor")
    ('docs-torch-dropout', 'docs-torch-dropout', 'docs-torch-lu')
    """
    library, last = name.partition(".")[0], name.rpartition(".")[2]
    root = _PREFIX.sub("", _SUFFIX.sub("", last))
    return f"docs-{library}-{root.replace('_', '').lower() or last.lower()}"


def _within(found: Sequence[str], max_words: int) -> list[str]:
    """The first sentences that together have at most `max_words` words."""
    chosen, words = [], 0
    for sentence in found:
        words += _words(sentence)
        if words > max_words:
            break
        chosen.append(sentence)
    return chosen


def _words(text: str) -> int:
    return len(text.split())


def _folder(library: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the package {library} is not installed; run `pip install -r requirements.lock`")
    return Path(spec.origin).parent
