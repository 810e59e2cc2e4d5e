"""Docstrings read from sources and turned into questions and answers."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from llm.sources.docs import (
    MAX_ANSWER_WORDS,
    MIN_ANSWER_WORDS,
    DocsConfig,
    family,
    make_answers,
    make_question,
    read_docs,
    read_names,
    with_subject,
)
from llm.sources.docstrings import read_docstrings, sentences, without_gaps

SOURCE = '''
import missing_module

class Layer:
    """Applies a layer."""

def plain(x):
    """Return x."""

def bare(x):
    return x

add_docstr(lib.absolute, r"""
absolute(input, *, out=None) -> Tensor

Computes the absolute value of {input}.
""".format(**common_args))

conv = _add_docstr(lib.conv2d, "conv2d(input) -> Tensor\\n\\nApplies a " + "convolution.")

Adam.__doc__ = rf"""Implements Adam.

    {_params_doc}
    """
'''


def test_docstrings_are_read_without_importing(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE, encoding="utf-8")
    assert read_docstrings(tmp_path / "a.py") == {
        "Layer": "Applies a layer.",
        "plain": "Return x.",
        "absolute": "Computes the absolute value of .",
        "conv": "Applies a convolution.",
        "Adam": "Implements Adam.",
    }


@pytest.mark.parametrize(
    "section",
    ["Args:\n    x: a number", "Parameters\n----------\nx : int", "Shape:\n    - Input", "Examples::\n\n    >>> f(1)"],
)
def test_what_follows_a_section_is_left_out(section):
    assert sentences(f"Doubles a number.\n\nIt is fast.\n\n{section}\n\nMore text.") == [
        "Doubles a number.",
        "It is fast.",
    ]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (":class:`~torch.nn.Module` and :attr:`x` are ``None``.", "Module and x are None."),
        ("As in `Deep Nets <https://a.org/b>`_ [1]_.", "As in Deep Nets."),
        ("Many :class:`Module` s are **kept** here.", "Many Modules are kept here."),
        (r"Sized :math:`(N, \text{in\_f}) \times \frac{1}{2}` here.", "Sized (N, in_f) * (1) / (2) here."),
        ("See the :ref:`notes <n>` of\nthis line.", ""),
        (r"With :math:`\sum_{i} x_i` it is long.", ""),
        ("Read more in the :ref:`User Guide <x>`.", ""),
        ("The value is (see :func:`f`).", ""),
    ],
)
def test_markup_becomes_plain_text_or_the_sentence_is_a_gap(text, plain):
    assert sentences(text) == [plain]


def test_formulas_code_and_lists_are_gaps_with_the_sentence_that_leads_to_them():
    docstring = "A loss. It is defined as\n\n.. math::\n    x = 1\n\nSuch a loss is small.\n\n- one\n- two\n\nIt ends."
    assert sentences(docstring) == ["A loss.", "", "Such a loss is small.", "", "It ends."]


def test_sentences_that_lean_on_a_gap_go_with_it():
    assert without_gaps(["A.", "", "Therefore b.", "This too.", "Classes are ints.", "It stays."]) == [
        "A.",
        "Classes are ints.",
        "It stays.",
    ]


def test_nothing_is_left_without_the_first_sentence():
    assert without_gaps(["", "Classes are ints."]) == []


def entry(number: int, *more: str) -> str:
    words = " ".join(f"word{number}x{i}" for i in range(25))
    return " ".join([f"Computes {words}.", *more, "Arguments are not told here at all.", f"Entry {number} ends."])


def test_sentences_of_two_entries_are_left_out_of_both():
    answers, counts = make_answers({f"torch.f{i}": entry(i) for i in (1, 2)})
    assert all("Arguments are not told" not in answer for answer in answers.values())
    assert answers["torch.f1"].endswith("word1x24. Entry 1 ends.")
    assert counts["shared_sentences"] == 1


def test_short_docstrings_and_answers_are_left_out_and_counted():
    long_but_empty = "Does it.\n\nArgs:\n    " + " ".join(f"w{i}" for i in range(40))
    answers, counts = make_answers({"torch.a": "Returns x.", "torch.b": long_but_empty, "torch.c": entry(1)})
    assert list(answers) == ["torch.c"]
    assert (counts["short_docstrings"], counts["short_answers"]) == (1, 1)


def test_answers_end_at_a_sentence_within_their_length():
    text = entry(1, *(f"Sentence {i} has just seven words now." for i in range(40)))
    answers, _ = make_answers({"torch.f": text})
    words = answers["torch.f"].split()
    assert MAX_ANSWER_WORDS - 7 < len(words) <= MAX_ANSWER_WORDS + 1  # the name is put in front
    assert words[-1] == "now."


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("Applies it.", "F applies it."),
        ("Apply it.", "F applies it."),
        ("Fetch it.", "F fetches it."),
        ("An estimator.", "F is an estimator."),
        ("The input is scaled.", "The input is scaled."),
        ("Linear regression.", "Linear regression."),
    ],
)
def test_the_name_becomes_the_subject_where_that_reads_well(answer, sentence):
    assert with_subject("F", answer) == sentence


def test_twins_and_variants_are_one_family():
    assert family("torch.nn.LazyConv2d") == family("torch.nn.Conv3d") == family("torch.nn.functional.conv1d")
    assert family("torch.linalg.inv") == family("torch.linalg.inv_ex")
    assert family("torch.nn.Fold") != family("torch.nn.Unfold")
    assert family("torch.norm") != family("sklearn.norm")


def test_the_installed_libraries_give_the_corpus_of_the_lock(repository):
    laptop = (repository / "presets" / "laptop.yaml").read_text("utf-8")
    (sha256,) = re.findall(r"docs:\n.*\n +sha256:\s+([0-9a-f]{64})", laptop)
    corpus = read_docs(DocsConfig(sha256), "technical")
    assert len(corpus.dialogues) == corpus.counts["rows"] == 484  # every listed name gives an answer


def test_another_corpus_is_refused_with_what_to_do():
    with pytest.raises(
        ValueError, match=r"expected 0{64}; install the versions of requirements\.lock, or set docs.sha256"
    ):
        read_docs(DocsConfig("0" * 64), "technical")


@pytest.fixture(scope="module")
def corpus():
    return read_docs(DocsConfig(None), "technical")


def test_every_answer_is_whole_sentences_of_plain_text(corpus):
    for dialogue in corpus.dialogues:
        answer = dialogue.turns[1]
        assert len(answer.split()) >= MIN_ANSWER_WORDS
        assert answer.endswith((".", "!", "?", ")"))
        assert not re.search(r":[a-z]+:`|``|\\|>>>|\n|  |https?:", answer), answer


def test_questions_name_what_they_ask_about_in_many_phrasings(corpus):
    openings = Counter(" ".join(dialogue.turns[0].split()[:3]) for dialogue in corpus.dialogues)
    assert all(dialogue.id.removeprefix("docs-") in dialogue.turns[0] for dialogue in corpus.dialogues)
    assert openings.most_common(1)[0][1] < 0.1 * len(corpus.dialogues)
    assert make_question("torch.nn.LSTM") == make_question("torch.nn.LSTM")


def test_no_name_is_listed_twice():
    names = [f"{module}.{name}" for module, _, listed in read_names() for name in listed]
    assert len(set(names)) == len(names)


def test_no_library_is_imported():
    code = (
        "import sys; from llm.sources.docs import DocsConfig, read_docs; read_docs(DocsConfig(None), 'technical'); "
        "print({'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
