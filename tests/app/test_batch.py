from dataclasses import replace

import pytest
import torch

from llm.app.batch import Batch, next_logprobs, take_slot
from llm.app.catalogue import find_model
from llm.dialogue import Prompt
from llm.evaluation.hub_model import HubModel
from llm.evaluation.scratch_model import ScratchModel
from llm.hub.pretrained import load_base, load_shipped_tokenizer
from llm.inference.decoding import Decoding
from llm.models.registry import load_gpt
from llm.tokens.tokenizer import load_tokenizer
from tests.app.small_project import LENGTH, TEXTS, write_scratch

PROMPTS = [
    Prompt(("Why?",)),
    Prompt(("What is a word?", "It is", "What?")),
    Prompt((TEXTS[0] * 3,)),
    Prompt((*TEXTS[:2], "So?"), "Be kind"),
    Prompt((), opening="What is"),
]
GREEDY = Decoding(100, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
DRAWN = Decoding(100, temperature=1.0, top_k=50, top_p=0.95, repetition_penalty=1.3, seed=1)


def evaluation_model(models, name):
    """The same model behind the calls of the evaluation."""
    if name == "scratch":
        folder = models / "scratch"
        return ScratchModel(name, load_gpt(folder), load_tokenizer(folder / "tokenizer.json"), 256)
    return HubModel(name, *load_base(models / "base"), 256, load_shipped_tokenizer(models / "base"))


def write_staggered(speaker, slots, every=7):
    """Bring the replies to their ends, a new one joining after every few tokens."""
    batch, waiting, n = Batch(speaker, 5), list(slots), 0
    while waiting or not all(slot.draft.done for slot in slots):
        if waiting and n % every == 0:
            batch.join(waiting.pop(0))
        batch.step()
        n += 1


def seats_of(speaker, decoding, prompts=PROMPTS):
    return [take_slot(speaker, prompt, decoding, decoding.max_reply_bytes + 1) for prompt in prompts]


def texts(speaker, slots):
    return [speaker.texts.reply(slot.draft, slot.decoding.max_reply_bytes) for slot in slots]


@pytest.mark.parametrize("name", ["scratch", "base"])
@pytest.mark.parametrize("decoding", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_replies_that_join_one_another_are_those_of_the_evaluation(models, request, name, decoding):
    speaker = request.getfixturevalue(name)
    expected = evaluation_model(models, name).generate(PROMPTS, decoding)
    slots = seats_of(speaker, decoding)
    write_staggered(speaker, slots)
    assert texts(speaker, slots) == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_reply_slides_on_in_the_window_as_in_the_evaluation(tmp_path, architecture):
    write_scratch(tmp_path / "scratch", architecture)
    how = replace(DRAWN, max_reply_bytes=300, temperature=2.0, top_k=0, top_p=1.0)
    expected = evaluation_model(tmp_path, "scratch").generate(PROMPTS, how)
    speaker = find_model("scratch", tmp_path).load()
    slots = seats_of(speaker, how)
    write_staggered(speaker, slots)
    assert texts(speaker, slots) == expected
    assert max(len(slot.draft.ids) for slot in slots) > 2 * LENGTH


def test_each_reply_of_a_batch_is_drawn_in_its_own_way(scratch):
    ways = [GREEDY, DRAWN, replace(DRAWN, temperature=0.3, repetition_penalty=1.0), replace(DRAWN, seed=2)]
    alone, together = ([take_slot(scratch, PROMPTS[1], how, 20) for how in ways] for _ in range(2))
    for slot in alone:
        write_staggered(scratch, [slot])
    write_staggered(scratch, together, every=2)
    assert [slot.draft.ids for slot in together] == [slot.draft.ids for slot in alone]
    assert len({tuple(slot.draft.ids) for slot in together}) > 2


@pytest.mark.parametrize("name", ["scratch", "base"])
def test_a_branch_goes_on_as_the_reply_does_that_began_so(request, name):
    speaker = request.getfixturevalue(name)
    (whole,) = seats_of(speaker, replace(DRAWN, max_reply_bytes=40), PROMPTS[1:2])
    write_staggered(speaker, [whole])
    ids = whole.draft.ids
    assert len(ids) > 8
    branch = take_slot(speaker, PROMPTS[1], whole.decoding, 41 - 5, ids[:5])
    write_staggered(speaker, [branch])
    assert branch.draft.ids == ids


def test_a_prefix_counts_for_nothing_in_the_number_of_tokens(scratch):
    slot = take_slot(scratch, PROMPTS[0], replace(GREEDY, max_reply_bytes=999), 3, [70, 71])
    write_staggered(scratch, [slot])
    assert len(slot.draft.ids) == 5 or slot.draft.ended


@pytest.mark.parametrize("token", [-1, 300, 2])
def test_a_prefix_of_no_reply_is_refused(scratch, token):
    with pytest.raises(ValueError, match=f"no reply of scratch can hold the token {token} of the prefix"):
        take_slot(scratch, PROMPTS[0], GREEDY, 9, [70, token])


@torch.no_grad()
def test_log_probabilities_are_those_of_the_model_at_temperature_1(models, scratch):
    gpt = load_gpt(models / "scratch")
    slot = take_slot(scratch, PROMPTS[0], replace(DRAWN, temperature=0.5), 6)
    batch = Batch(scratch, 4)
    batch.join(slot)
    while not slot.draft.done:
        ((_, step),) = batch.step()
        read = slot.draft.prompt + slot.draft.ids[: len(slot.draft.ids) - (not slot.draft.ended)]
        expected = gpt(torch.tensor([read]))[0, -1].double().log_softmax(0)
        assert step.logprob == pytest.approx(float(expected[step.token]), abs=1e-4)
        best, ids = expected.topk(4)
        assert [i for i, _ in step.alternatives] == ids.tolist()
        assert [p for _, p in step.alternatives] == pytest.approx(best.tolist(), abs=1e-4)


def begun_batch(speaker, alone, *together):
    """A batch of the others that has taken a step, after the one was written alone."""
    write_staggered(speaker, [alone])
    batch = Batch(speaker, 1)
    for slot in together:
        batch.join(slot)
    batch.step()
    return batch


def test_who_has_left_gets_no_more_and_the_others_what_they_would_have(scratch):
    alone, gone, stays = seats_of(scratch, DRAWN, [PROMPTS[1]] * 3)
    batch = begun_batch(scratch, alone, gone, stays)
    gone.left = True
    while not stays.draft.done:
        batch.step()
    assert len(gone.draft.ids) == 1 and stays.draft.ids == alone.draft.ids


def test_who_was_left_out_for_a_while_goes_on(scratch):
    alone, other, late = seats_of(scratch, DRAWN, [PROMPTS[1], PROMPTS[0], PROMPTS[1]])
    batch = begun_batch(scratch, alone, other, late)
    late.left = True
    batch.step()
    batch.rejoin(late)
    while not late.draft.done:
        batch.step()
    assert late.draft.ids == alone.draft.ids


def test_an_empty_batch_has_no_step(scratch):
    assert Batch(scratch, 1).step() == []


def test_what_comes_next_is_what_the_batch_chooses_from(scratch):
    slot = take_slot(scratch, PROMPTS[1], GREEDY, 3, [70])
    batch = Batch(scratch, 9)
    batch.join(slot)
    ((_, step),) = batch.step()
    best, ids = next_logprobs(scratch, PROMPTS[1], [70]).topk(9)
    assert [i for i, _ in step.alternatives] == ids.tolist()
    assert [p for _, p in step.alternatives] == pytest.approx(best.tolist(), abs=1e-5)
