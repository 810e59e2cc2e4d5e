import os
import time
from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.models.loss import summed_loss
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.packing import (
    LOOK_AHEAD,
    PADDING,
    TokenCorpus,
    Waiting,
    grow_corpus,
    open_corpus,
    pack_corpus,
    pack_efficiency,
    write_corpus,
)


def corpus_of(dialogues, supervised=None):
    """Dialogues given by the lengths of their turns; the tokens are 0, 1, 2, ..., so each tells where it is from."""
    lengths = [sum(turns) for turns in dialogues]
    offsets = np.cumsum([0, *lengths])
    starts = np.cumsum([0, *(turn for turns in dialogues for turn in turns)])[:-1]
    return TokenCorpus(np.arange(offsets[-1], dtype=np.uint32), offsets, starts, supervised)


corpora = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), max_size=12).map(corpus_of)
widths = st.integers(1, 24)


def whole(packed):
    return packed.batch(range(len(packed)))


def segments(batch):
    """(row, columns) of every stretch of one document number, padding left out."""
    found = []
    for row, documents in enumerate(batch.documents.tolist()):
        borders = [i for i in range(len(documents)) if i == 0 or documents[i] != documents[i - 1]]
        for start, stop in zip(borders, [*borders[1:], len(documents)], strict=True):
            if documents[start] != PADDING:
                found.append((row, slice(start, stop)))
    return found


@settings(deadline=None)
@given(corpora, widths, st.integers(0, 3))
def test_every_token_but_a_dialogues_first_is_learned_exactly_once(corpus, width, seed):
    targets = whole(pack_corpus(corpus, width, seed)).targets
    firsts = set(corpus.offsets[:-1].tolist())
    assert sorted(targets[targets >= 0].tolist()) == [i for i in range(len(corpus.ids)) if i not in firsts]


@settings(deadline=None)
@given(corpora, widths)
def test_a_target_is_the_token_after_its_input(corpus, width):
    batch = whole(pack_corpus(corpus, width, 1))
    learned = batch.targets >= 0
    assert torch.equal(batch.targets[learned], batch.ids[learned] + 1)


@settings(deadline=None)
@given(corpora, widths)
def test_a_document_holds_consecutive_tokens_of_one_dialogue(corpus, width):
    batch = whole(pack_corpus(corpus, width, 1))
    for row, columns in segments(batch):
        ids = batch.ids[row, columns].tolist()
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert len(set(np.searchsorted(corpus.offsets, ids, side="right"))) == 1


@settings(deadline=None)
@given(corpora, widths)
def test_documents_of_a_row_have_different_numbers(corpus, width):
    batch = whole(pack_corpus(corpus, width, 1))
    numbers = [(row, int(batch.documents[row, columns.start])) for row, columns in segments(batch)]
    assert len(set(numbers)) == len(numbers)


@settings(deadline=None)
@given(corpora, widths)
def test_positions_restart_in_every_document(corpus, width):
    batch = whole(pack_corpus(corpus, width, 1))
    for row, columns in segments(batch):
        assert batch.positions[row, columns].tolist() == list(range(columns.stop - columns.start))


@settings(deadline=None)
@given(corpora, widths)
def test_rows_are_full_but_the_last_ones_tail(corpus, width):
    batch = whole(pack_corpus(corpus, width, 1))
    padding = batch.documents.flatten() == PADDING
    n_padding = int(padding.sum())
    assert n_padding < width
    assert padding[len(padding) - n_padding :].all()
    assert (batch.targets.flatten()[padding] == -1).all()


@settings(deadline=None)
@given(corpora, widths)
def test_a_cut_dialogue_goes_on_with_the_turn_in_progress(corpus, width):
    batch = whole(pack_corpus(corpus, width, 1))
    for row, columns in segments(batch):
        ids, targets = batch.ids[row, columns].tolist(), batch.targets[row, columns].tolist()
        n_repeated = sum(target < 0 for target in targets)
        assert all(target < 0 for target in targets[:n_repeated])
        cut = ids[0] + n_repeated  # the first token that has not been an input yet
        if cut in corpus.offsets:
            assert n_repeated == 0
        else:
            turn = max(start for start in corpus.turns.tolist() if start < cut)
            assert ids[0] == max(turn, cut - width // 8)


def test_a_worked_example_of_a_cut():
    # Turns of 14 and 17 tokens, in rows of 16: the first takes the inputs 0 ... 15; the cut falls into the second turn,
    # which starts at 14, so the second row shows 14 and 15 again (an eighth of 16), then goes on to the last, 29.
    batch = whole(pack_corpus(corpus_of([[14, 17]]), 16, 1))
    assert batch.ids.tolist() == [list(range(16)), list(range(14, 30))]
    assert batch.targets.tolist() == [list(range(1, 17)), [-1, -1, *range(17, 31)]]
    assert batch.positions.tolist() == [list(range(16))] * 2
    assert batch.documents.tolist() == [[0] * 16, [0] * 16]


def test_a_cut_at_a_turns_start_repeats_the_turn_before():
    batch = whole(pack_corpus(corpus_of([[14, 2, 13]]), 16, 1))
    assert batch.ids[1].tolist() == [*range(14, 28), 0, 0]
    assert batch.targets[1].tolist() == [-1, -1, *range(17, 29), -1, -1]
    assert batch.documents[1].tolist() == [0] * 14 + [PADDING] * 2


@pytest.mark.parametrize(("room", "taken"), [(9, 0), (6, 2), (3, 1), (1, 0)])
def test_the_rest_of_a_row_goes_to_the_longest_dialogue_that_fits_or_else_to_the_next(room, taken):
    waiting = Waiting(np.array([9, 3, 5, 2]), np.arange(4))
    assert waiting.take(room) == taken
    assert sorted([taken, *(waiting.take(9) for _ in range(3))]) == [0, 1, 2, 3] and not waiting


def longest_that_fits(waiting, lengths, room):
    """What `Waiting.take` gives, looked for in the whole window."""
    window = waiting[:LOOK_AHEAD]
    if 0 < lengths[window[0]] <= room:
        return window[0]
    fits = [lengths[i] if lengths[i] <= room else 0 for i in window]
    return window[fits.index(max(fits))]


def test_dialogues_are_taken_as_by_a_search_of_the_whole_window():
    generator = np.random.default_rng(1)
    lengths, order = generator.integers(0, 40, 1000), generator.permutation(1000)
    waiting, left = Waiting(lengths, order), order.tolist()
    while left:
        room = int(generator.integers(1, 45))
        expected = longest_that_fits(left, lengths, room)
        assert waiting.take(room) == expected
        left.remove(expected)
    assert not waiting


@settings(deadline=None)
@given(corpora, widths, st.randoms())
def test_only_supervised_tokens_are_learned(corpus, width, random):
    supervised = np.array([random.random() < 0.5 for _ in corpus.ids], dtype=np.bool_)
    masked = whole(pack_corpus(replace(corpus, supervised=supervised), width, 1))
    plain = whole(pack_corpus(corpus, width, 1))
    learned = (plain.targets >= 0) & torch.from_numpy(supervised)[plain.targets]
    assert torch.equal(masked.targets, torch.where(learned, plain.targets, -1))
    assert torch.equal(masked.ids, plain.ids)


def test_a_batch_is_the_named_rows_in_that_order():
    packed = pack_corpus(corpus_of([[5, 9], [30], [4, 4, 4]]), 8, 1)
    every, batch = whole(packed), packed.batch([3, 0, 3])
    for name in ("ids", "targets", "positions", "documents"):
        assert torch.equal(getattr(batch, name), getattr(every, name)[[3, 0, 3]])
        assert getattr(batch, name).dtype == torch.int64


def test_the_seed_decides_the_order_of_the_dialogues():
    corpus = corpus_of([[3, 4]] * 20)
    one, same, other = (pack_corpus(corpus, 8, seed).rows for seed in (1, 1, 2))
    assert np.array_equal(one.start, same.start)
    assert not np.array_equal(one.start, other.start)


@pytest.mark.parametrize("dialogues", [[], [[1]], [[1], [1]]])
def test_dialogues_without_a_second_token_give_no_rows(dialogues):
    packed = pack_corpus(corpus_of(dialogues), 8, 1)
    assert len(packed) == 0
    assert pack_efficiency(packed) == 0


@pytest.mark.parametrize(
    ("dialogues", "efficiency"),
    [
        ([[5, 4], [9]], 1.0),  # 8 inputs each
        ([[5, 8]], 12 / 16),  # 8, then 5 ... 7 without 5 (at most 2 repeated): 6 and 7 again, 4 new, 2 of padding
    ],
)
def test_efficiency_is_the_share_of_inputs_that_predict_something_new(dialogues, efficiency):
    packed = pack_corpus(corpus_of(dialogues), 8, 1)
    assert pack_efficiency(packed) == efficiency
    assert int((whole(packed).targets >= 0).sum()) == efficiency * len(packed) * 8


def test_a_batch_takes_under_five_milliseconds():
    generator = np.random.default_rng(1)
    dialogues = [[int(n), int(m)] for n, m in generator.integers(5, 25, (20_000, 2))]  # short ones: many to a row
    packed = pack_corpus(corpus_of(dialogues), 256, 1)
    times = []
    for step in range(20):
        rows = range(step * 32, step * 32 + 32)
        started = time.perf_counter()
        packed.batch(rows)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.005  # 1 ms on a quiet core


ARRAYS = ("ids", "offsets", "turns", "supervised")


@settings(deadline=None)
@given(corpora, st.booleans())
def test_a_written_corpus_comes_back(tmp_path_factory, corpus, masked):
    folder = tmp_path_factory.mktemp("tokens")
    if masked:
        corpus = replace(corpus, supervised=corpus.ids % 2 == 0)
    write_corpus(folder, "val", corpus)
    again = open_corpus(folder, "val")
    assert (again.supervised is not None) == masked
    for name in ARRAYS[: 3 + masked]:
        assert np.array_equal(getattr(again, name), getattr(corpus, name))
        assert getattr(again, name).dtype == getattr(corpus, name).dtype


@pytest.mark.parametrize("dialogues", [[], [[5]], [[5, 6], [20, 3], [1]], [[1]] * 2000])
def test_a_corpus_grown_dialogue_by_dialogue_has_the_bytes_of_one_written_at_once(tmp_path, dialogues):
    corpus = corpus_of(dialogues)
    corpus = replace(corpus, ids=corpus.ids.astype(np.uint16))
    write_corpus(tmp_path / "whole", "train", corpus)
    with grow_corpus(tmp_path / "grown", "train") as append:
        for (a, b), turns in zip(pairwise(corpus.offsets), dialogues, strict=True):
            append(corpus.ids[a:b], np.cumsum([0, *turns[:-1]]))
    for path in sorted((tmp_path / "whole").iterdir()):
        grown = tmp_path / "grown" / path.name
        assert grown.read_bytes() == path.read_bytes()
        saved = BytesIO()
        np.save(saved, np.load(path))
        assert path.read_bytes() == saved.getvalue()
    assert len(list((tmp_path / "grown").iterdir())) == 3


def test_a_corpus_is_read_from_the_disk_piece_by_piece(tmp_path):
    write_corpus(tmp_path, "train", corpus_of([[5, 6]]))
    assert isinstance(open_corpus(tmp_path, "train").ids, np.memmap)


def test_batches_of_an_opened_corpus_are_those_of_the_written_one(tmp_path):
    corpus = corpus_of([[5, 6], [20, 3]], supervised=np.arange(34) % 3 == 0)
    write_corpus(tmp_path, "train", corpus)
    written, opened = (pack_corpus(one, 8, 1) for one in (corpus, open_corpus(tmp_path, "train")))
    assert all(
        torch.equal(getattr(whole(written), name), getattr(whole(opened), name))
        for name in ("ids", "targets", "positions", "documents")
    )


def test_writing_leaves_another_link_to_the_old_file_alone(tmp_path):
    write_corpus(tmp_path, "train", corpus_of([[5, 6]]))
    os.link(tmp_path / "train.ids.npy", tmp_path / "cached")
    write_corpus(tmp_path, "train", corpus_of([[7]]))
    assert len(np.load(tmp_path / "cached")) == 11
    assert len(open_corpus(tmp_path, "train").ids) == 7


def test_writing_without_supervision_removes_an_older_one(tmp_path):
    write_corpus(tmp_path, "train", corpus_of([[5]], supervised=np.ones(5, np.bool_)))
    write_corpus(tmp_path, "train", corpus_of([[5]]))
    assert open_corpus(tmp_path, "train").supervised is None


SHAPE = ModelConfig("gpt2", n_layer=2, n_head=2, n_embd=16, context_length=32, dropout=0.0, attn_dropout=0.0)
V = 40


@pytest.fixture(params=["gpt2", "llama", "qwen3"])
def model(request):
    """A network whose attention is far from uniform, so that a token wrongly seen is noticed."""
    network = build_model(replace(SHAPE, architecture=request.param), V, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)
    return network


def random_corpus(lengths, seed=1):
    """Dialogues of these lengths and of random tokens, one turn every five tokens."""
    offsets = np.cumsum([0, *lengths])
    turns = np.concatenate([np.arange(a, b, 5) for a, b in pairwise(offsets)])
    ids = np.random.default_rng(seed).integers(0, V, offsets[-1]).astype(np.uint16)
    return TokenCorpus(ids, offsets, turns, None)


def losses(hidden, head, targets):
    return torch.stack([summed_loss(hidden[:, i : i + 1], head, targets[:, i : i + 1]) for i in range(hidden.size(1))])


@torch.inference_mode()
def test_a_packed_dialogue_has_the_loss_it_has_alone(model):
    corpus = random_corpus([9, 12, 7, 11])  # 8 + 11 + 6 + 10 inputs: one row of 32 and the end of the last dialogue
    batch = whole(pack_corpus(corpus, 32, 1))
    hidden = model.hidden(batch.ids, batch.positions, batch.documents)
    n_whole = 0
    for row, columns in segments(batch):
        ids, targets = batch.ids[None, row, columns], batch.targets[None, row, columns]
        packed = losses(hidden[None, row, columns], model.head, targets)
        alone = losses(model.hidden(ids), model.head, targets)
        assert torch.allclose(packed, alone, atol=1e-5)
        n_whole += ids.size(1) + 1 in (9, 12, 7, 11)
    assert n_whole == 3


@torch.inference_mode()
def test_changing_one_dialogue_changes_no_logit_of_another(model):
    corpus = random_corpus([9, 12, 7, 11, 40, 3])
    packed = pack_corpus(corpus, 32, 1)
    batch = whole(packed)
    logits = model.hidden(batch.ids, batch.positions, batch.documents) @ model.head.T
    for first, stop in pairwise(corpus.offsets):
        ids = corpus.ids.copy()
        ids[first:stop] = (ids[first:stop] + 1) % V
        changed = whole(replace(packed, corpus=replace(corpus, ids=ids)))
        theirs = changed.ids == batch.ids
        again = model.hidden(changed.ids, changed.positions, changed.documents) @ model.head.T
        assert torch.equal(logits[theirs], again[theirs])
        assert not torch.isclose(logits[~theirs], again[~theirs]).all(dim=1).any()
