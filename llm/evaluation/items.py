"""Step 1, items: what every model is asked, one draw from test dialogues and curated questions, the same for all."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest

from llm.corpus.questions import Question
from llm.corpus.split import position
from llm.dialogue import Dialogue, Example, Prompt, scored_replies
from llm.evaluation.samples import PROMPTS, opening_of
from llm.inference.decoding import Decoding
from llm.ranges import check_range

GONE = "…"  # of a turn that was cut away


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn by their probability."""

    temperature: float  # the logits are divided by it
    top_p: float  # only the most likely tokens that together reach this probability

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 0.01, 100.0)
        check_range("top_p", self.top_p, 1e-6, 1.0)


@dataclass(frozen=True)
class SamplingConfig:
    """How each model's replies are drawn: where one reads well another may loop or ramble."""

    scratch: Sampling
    mistral: Sampling
    base: Sampling

    def of(self, model: str) -> Sampling:
        """That of a model; `untrained` and what draws nothing have that of scratch."""
        return {"mistral": self.mistral, "base": self.base}.get(model, self.scratch)


@dataclass(frozen=True)
class EvaluateConfig:
    """How much is asked of each model."""

    dialogues: int | None  # test dialogues of each source; None: all
    max_replies: int | None  # scored replies of a dialogue; None: all
    history_chars: int  # of the history a model sees; decided here so that all see the same text
    generations: int  # test prompts replied to by the most likely tokens
    sampled: int  # of these, how many also by sampling: with those of samples.md, for the diversity of replies
    sampling: SamplingConfig
    max_reply_bytes: int  # of a generated text; the same for all models, or the longer texts would win
    truth_questions: int
    truthfulqa_questions: int | None  # of TruthfulQA where the data hold it; None: all
    literacy_questions: int | None  # couples of literacy pairs, and as many false premises; None: all
    quiz: bool  # whether the quiz is answered by choosing too
    batch_tokens: int  # of a forward pass; of keys and values when replies are generated
    bootstrap: int  # resamples of a confidence interval

    def __post_init__(self) -> None:
        for name in ("dialogues", "max_replies", "literacy_questions"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1, 10**9)
        check_range("history_chars", self.history_chars, 1, 10**9)
        for name in ("generations", "truth_questions", "batch_tokens"):
            check_range(name, getattr(self, name), 1, 10**9)
        check_range("sampled", self.sampled, 0, 10**9)
        if self.truthfulqa_questions is not None:
            check_range("truthfulqa_questions", self.truthfulqa_questions, 0, 10**9)
        check_range("max_reply_bytes", self.max_reply_bytes, 1, 1_000_000)
        check_range("bootstrap", self.bootstrap, 100, 10**6)

    def greedy(self, seed: int) -> Decoding:
        """The most likely token each time."""
        return Decoding(self.max_reply_bytes, 0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=seed)

    def drawn(self, model: str, seed: int) -> Decoding:
        """Tokens drawn by their probability, as that model's are."""
        how = self.sampling.of(model)
        return replace(self.greedy(seed), temperature=how.temperature, top_p=how.top_p)


@dataclass(frozen=True)
class EvalItems:
    """Everything a model is asked in one evaluation."""

    examples: list[Example]  # replies whose likelihood is measured
    prompts: list[Example]  # histories that are replied to, with the real reply
    quiz: list[Question]  # answered by choosing; empty where evaluate.quiz is false
    truth: list[Question]  # answered in words
    truthfulqa: list[Question]  # answered by choosing; empty where the data do not hold it
    shown: tuple[str, ...] = PROMPTS  # replied to for samples.md
    continued: list[Example] = field(default_factory=list)  # sections of documents, gone on with for samples.md
    pairs: list[Question] = field(default_factory=list)  # literacy: which of two statements is likelier
    premises: list[Question] = field(default_factory=list)  # which answers are likelier to a question that is wrong
    english: list[Example] = field(default_factory=list)  # paragraphs of plain English, sections of documents

    @property
    def choices(self) -> dict[str, list[Question]]:
        """What is answered by choosing, by section of the metrics files; a section without questions is missing."""
        sections = {
            "choice": self.quiz,
            "literacy": self.pairs,
            "premises": self.premises,
            "truthfulqa": self.truthfulqa,
        }
        return {section: questions for section, questions in sections.items() if questions}


def dialogues_of(examples: Iterable[Example]) -> set[tuple[str, str]]:
    """Source and id of each dialogue that the examples are replies of."""
    return {(example.source, example.id.rpartition("/")[0]) for example in examples}


def count_items(items: EvalItems) -> dict[str, int]:
    """Number of items of each kind, and of the dialogues that the scored replies come from."""
    return {
        "dialogues": len(dialogues_of(items.examples)),
        "replies": len(items.examples),
        "prompts": len(items.prompts),
        "pairs": len(items.pairs),
        "premises": len(items.premises),
        "quiz": len(items.quiz),
        "truth": len(items.truth),
        "truthfulqa": len(items.truthfulqa),
    }


def text_digest(*texts: str) -> str:
    """16 hexadecimal digits that stand for the texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def example_digest(example: Example) -> str:
    """The digest of what a model sees and of the reply it is asked about."""
    return text_digest(*example.prompt.texts, example.reply)


def cut_history(history: tuple[str, ...], max_chars: int) -> tuple[str, ...]:
    """The latest of the turns, at most `max_chars` characters in all, beginning with a user turn.

    They are cut at turns, and inside the first one that is kept, from the start of a word. The last user turn always
    stays; if it alone is too long, its end does. A user turn of which nothing is left stands as an ellipsis before its
    reply. The system turn is no part of the history: it is never cut, for without it the reply is another one, and
    counts nothing.

    >>> cut_history(("Hi there", "Hello", "What is a token?"), 27)
    ('there', 'Hello', 'What is a token?')
    >>> cut_history(("Hi there", "Good morning", "What is a token?"), 24)
    ('…', 'morning', 'What is a token?')
    >>> cut_history(("What is a token?",), 10)
    ('a token?',)
    """
    if sum(map(len, history)) <= max_chars:  # nothing to cut, or a document: it has no turns
        return history
    last = history[-1]
    if len(last) > max_chars:
        return (_last_words(last, max_chars) or last[-max_chars:],)
    kept, left = history[-1:], max_chars - len(last)
    for i in range(len(history) - 3, -1, -2):
        asked, replied = history[i : i + 2]
        if len(asked) + len(replied) > left:
            if len(replied) < left:
                return _last_words(asked, left - len(replied)) or GONE, replied, *kept
            words = _last_words(replied, left - len(GONE))
            return (GONE, words, *kept) if words else kept
        kept, left = (asked, replied, *kept), left - len(asked) - len(replied)
    return kept


def _last_words(text: str, max_chars: int) -> str:
    """The end of a text, from the start of a word; nothing where the last word is longer."""
    text = text.rstrip()
    start = len(text) - max_chars
    if start <= 0:
        return text
    word = re.search(r"(?<=\s)\S", text[start - 1 :])
    return text[start - 1 + word.start() :] if word else ""


def evenly_spaced(examples: Sequence[Example], n: int | None) -> list[Example]:
    """`n` of the examples, from the middles of n equal stretches; all when there are no more.

    >>> evenly_spaced(list("abcdef"), 3)
    ['b', 'd', 'f']
    """
    total = len(examples)
    if n is None or n >= total:
        return list(examples)
    return [examples[(2 * i + 1) * total // (2 * n)] for i in range(n)]


def draw_examples(dialogues: Iterable[Dialogue], config: EvaluateConfig, seed: int) -> list[Example]:
    """Scored replies of the drawn test dialogues, source by source, their histories cut to `history_chars`.

    Dialogues are drawn by hash of their ids: one more in the data replaces at most one in the draw.
    Raises ValueError when there are none.
    """
    by_source: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        by_source.setdefault(dialogue.source, []).append(dialogue)
    if not by_source:
        raise ValueError("there is no test dialogue: raise clean.test_share or a download limit")
    examples: list[Example] = []
    for _, members in sorted(by_source.items()):
        drawn = sorted(members, key=lambda dialogue: position(dialogue.id, seed))[: config.dialogues]
        for dialogue in sorted(drawn, key=lambda dialogue: dialogue.id):
            examples += evenly_spaced(scored_replies(dialogue), config.max_replies)
    return [replace(example, history=cut_history(example.history, config.history_chars)) for example in examples]


def continued_prompt(example: Example) -> Prompt:
    """The beginning of a section, to be gone on with."""
    return Prompt((), opening=opening_of(example.reply))


def draw_prompts(examples: Sequence[Example], n: int, seed: int) -> list[Example]:
    """`n` replies of dialogues to be given by the models too."""
    return _draw_spread([example for example in examples if example.history], n, seed)


def draw_continued(examples: Sequence[Example], each: int, seed: int) -> list[Example]:
    """`each` sections of every source of documents to be gone on with by the models."""
    sections = [example for example in examples if not example.history]
    return _draw_spread(sections, each * len({example.source for example in sections}), seed)


def _draw_spread(examples: Sequence[Example], n: int, seed: int) -> list[Example]:
    """`n` examples: the sources in turn, and in each a second one of a group only after all firsts."""
    shuffled = sorted(examples, key=lambda example: position(example.id, seed))
    seen: dict[tuple[str, str], int] = {}
    ranked: dict[str, list[tuple[int, Example]]] = {}
    for example in shuffled:
        group = (example.source, example.group)
        seen[group] = rank = seen.get(group, -1) + 1
        ranked.setdefault(example.source, []).append((rank, example))
    columns = [[e for _, e in sorted(ranked[source], key=lambda pair: pair[0])] for source in sorted(ranked)]
    return [example for example in chain(*zip_longest(*columns)) if example is not None][:n]
