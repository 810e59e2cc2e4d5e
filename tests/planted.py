"""Canaries behind a corpus, as the stage tokenize puts them behind the training tokens."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from llm.tokens.canaries import encode_canaries
from llm.tokens.packing import TokenCorpus, grow_corpus, open_corpus


def plant(corpus, canaries, tokenizer):
    """The corpus with every canary behind it, as often as it is repeated."""
    dialogues = [corpus.ids[a:b] for a, b in pairwise(corpus.offsets)] + encode_canaries(canaries, tokenizer)
    with TemporaryDirectory() as name:
        with grow_corpus(Path(name), "train") as append:
            for ids in dialogues:
                append(ids, tokenizer.turn_starts(ids))
        grown = open_corpus(Path(name), "train")
        return TokenCorpus(*(np.array(array) for array in (grown.ids, grown.offsets, grown.turns)), None)
