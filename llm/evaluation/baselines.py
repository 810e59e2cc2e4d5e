"""What a network has to beat, behind the same two calls: counting, compressing and repeating the training text."""

import lzma
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.dedup import Hashes, hash_words
from llm.corpus.normalise import split_words
from llm.corpus.split import position
from llm.dialogue import Dialogue, Example, Prompt
from llm.evaluation.ngram import Floats, KneserNey
from llm.evaluation.scoring import Score, encode_prompts, encode_replies, encoder, sum_logprobs
from llm.inference.decoding import Decoding
from llm.inference.replies import Reply, cut_reply
from llm.tokens.tokenizer import Tokenizer

# LZMA reads all of it again for every reply: 64 KiB give 2.86 bits a byte, 128 KiB 2.75 in twice the time.
PRIME_BYTES = 65_536
LZMA = ({"id": lzma.FILTER_LZMA1, "preset": 6, "dict_size": 1 << 20, "lc": 4, "pb": 0},)
K1, B = 1.2, 0.75  # BM25's saturation and length constants (Robertson & Zaragoza 2009, section 3.3)


@dataclass(frozen=True)
class NgramScorer:
    """A model that counts, over the tokens of the scratch model."""

    name: str
    ngram: KneserNey
    tokenizer: Tokenizer

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        return [sum_logprobs([logprobs]) for logprobs in self.token_logprobs(examples)]

    def token_logprobs(self, examples: Sequence[Example]) -> list[Floats]:
        """Log-probabilities (nats) of the tokens of each example's reply, the end token's last."""
        prompts = encode_prompts(examples, encoder(self.tokenizer))
        found = []
        for prompt, reply in zip(prompts, encode_replies(examples, self.tokenizer), strict=True):
            seen = prompt[max(0, len(prompt) - (self.ngram.order - 1)) :]  # no token depends on more
            found.append(self.ngram.token_logprobs([*seen, *reply, self.tokenizer.end_id])[len(seen) :])
        return found


def draw_prime(dialogues: Iterable[Dialogue], n_bytes: int = PRIME_BYTES) -> bytes:
    """At most `n_bytes` of training text, the same share of each source: dialogues drawn by hash, the same each run."""
    by_source: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        by_source.setdefault(dialogue.source, []).append(dialogue)
    share = n_bytes // max(1, len(by_source))
    parts = []
    for _, members in sorted(by_source.items()):
        text = b""
        for dialogue in sorted(members, key=lambda dialogue: position(dialogue.id, seed=0)):
            text += _lines(dialogue.texts)
            if len(text) >= share:
                break
        parts.append(text[:share])
    return b"".join(parts)


def _lines(texts: Sequence[str]) -> bytes:
    return "".join(text + "\n" for text in texts).encode()


def compressed_bits(text: bytes) -> int:
    """Bits of the text as LZMA leaves it, without a container."""
    return 8 * len(lzma.compress(text, lzma.FORMAT_RAW, filters=LZMA))


@dataclass(frozen=True)
class Compressor:
    """What a reply adds to the compressed training text and history before it (Cilibrasi & Vitányi 2005).

    It has no tokens, and whole bytes are too coarse to tell two answers apart.
    """

    prime: bytes  # of the training text

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        prompts = {example.prompt: self.prime + _lines(example.prompt.texts) for example in examples}
        whole = [prompts[example.prompt] + example.reply.encode() for example in examples]
        with ThreadPoolExecutor() as pool:  # lzma lets the other cores work
            before = dict(zip(prompts, pool.map(compressed_bits, prompts.values()), strict=True))
            after = pool.map(compressed_bits, whole)
        return [
            Score((before[example.prompt] - bits) * math.log(2), end_logprob=0.0, n_tokens=0)
            for example, bits in zip(examples, after, strict=True)
        ]


def most_frequent(replies: Iterable[str]) -> str:
    """The reply that occurs most often in any spelling, in its most frequent spelling; replies of no word left out.

    >>> most_frequent(["Yes", "No.", "No!", "no", "No."])
    'No.'
    """
    spellings: dict[tuple[str, ...], Counter[str]] = {}
    for reply in replies:
        if words := tuple(split_words(reply)):
            spellings.setdefault(words, Counter())[reply] += 1
    most = max(spellings.values(), key=Counter.total, default=Counter([""]))
    return most.most_common(1)[0][0]


@dataclass(frozen=True)
class Frequent:
    """Always the same reply."""

    reply: str

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, n_greedy: int = 0) -> list[Reply]:
        """The reply, once for each prompt, as long as a model's may be."""
        return [cut_reply(self.reply, True, decoding.max_reply_bytes)] * len(prompts)


@dataclass(frozen=True)
class Index:
    """Which texts hold a word, and what it adds to their BM25 score; the words as hashes."""

    n_texts: int
    words: Hashes  # (W,) ascending
    starts: NDArray[np.int64]  # (W + 1,) where each word's texts start, and P
    texts: NDArray[np.int64]  # (P,)
    weights: NDArray[np.float64]  # (P,)

    def nearest(self, text: str) -> int | None:
        """Number of the text that scores highest, the first of equals; None when it shares no word with any."""
        scores = np.zeros(self.n_texts)
        for word in np.intersect1d(hash_words([text]).hashes, self.words):
            at = int(np.searchsorted(self.words, word))
            inside = slice(int(self.starts[at]), int(self.starts[at + 1]))
            scores[self.texts[inside]] += self.weights[inside]
        return int(scores.argmax()) if scores.any() else None


def index_texts(texts: Iterable[str]) -> Index:
    """The texts' words, weighed by Okapi BM25 (Robertson & Zaragoza 2009) with a logarithm that stays above 0."""
    found = hash_words(texts)
    lengths = found.counts
    words, numbers = np.unique(found.hashes, return_inverse=True)
    pairs, times = np.unique(numbers * len(lengths) + np.repeat(np.arange(len(lengths)), lengths), return_counts=True)
    word, text = np.divmod(pairs, len(lengths))  # by word, each text once
    n_with = np.bincount(word, minlength=len(words))
    rarity = np.log1p((len(lengths) - n_with + 0.5) / (n_with + 0.5))
    mean = max(lengths.mean(), 1) if len(lengths) else 1  # documents alone hold no turn to be replied to
    damping = K1 * (1 - B + B * lengths / mean)
    weights = rarity[word] * times * (K1 + 1) / (times + damping[text])
    return Index(len(lengths), words, np.cumsum([0, *n_with]), text, weights)


@dataclass(frozen=True)
class Retrieval:
    """The reply to the training turn most like the one to be answered; nothing where no word of it is known."""

    index: Index  # of the turns that were replied to
    replies: list[str]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, n_greedy: int = 0) -> list[Reply]:
        """A reply to each prompt, by the words of its last turn, as long as a model's may be."""
        nearest = [self.index.nearest(prompt.history[-1]) for prompt in prompts]
        found = ["" if number is None else self.replies[number] for number in nearest]
        return [cut_reply(reply, True, decoding.max_reply_bytes) for reply in found]


def make_retrieval(examples: Iterable[Example]) -> Retrieval:
    """The examples' replies, found by the turns they answer."""
    known = list(examples)
    return Retrieval(index_texts(example.history[-1] for example in known), [e.reply for e in known])
