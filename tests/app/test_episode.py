"""Episodes on small runs: what is told depends on what happened."""

import random
from dataclasses import replace

import pytest

from llm.app.episode import MAX_WORDS, SURELY_WRONG, choose_pair, make_episode
from llm.app.heard import Share
from llm.app.known import ANSWERS, OPENERS
from llm.app.script import read_script, script_markdown
from tests.app.runs_heard import COIN, OAK, PAIRS, PIP, TRAPS, heard


def lines(run, seed=1):
    return [line for chapter in make_episode(run, seed).chapters for line in chapter.lines]


def text(run, seed=1):
    return " ".join(line.text for line in lines(run, seed))


@pytest.mark.parametrize("seed", range(5))
def test_an_episode_takes_four_to_six_minutes(seed):
    assert 600 <= make_episode(heard(), seed).words <= MAX_WORDS


def test_long_replies_leave_it_below_six_minutes():
    long = " ".join(f"Sentence number {i} says something else again." for i in range(40))
    assert make_episode(heard(long, long), 1).words <= MAX_WORDS


def test_the_question_is_the_hook():
    first = make_episode(heard(), 1).chapters[0].lines[0]
    assert first.text.startswith(OPENERS)


def test_the_same_run_and_seed_give_the_same_episode_and_others_other_words():
    assert make_episode(heard(), 1) == make_episode(heard(), 1)
    assert len({text(heard(), seed) for seed in range(6)}) == 6
    assert text(heard("Blue. Red.")) != text(heard("Blue. Green."))


def test_a_loop_is_heard_once_and_said_to_go_on():
    told = [line.text for line in lines(heard()) if line.speaker == "Pip"]
    assert set(told) == {"The model is a small thing."}
    assert any(f"{word} " in text(heard()) for word in ("round", "again", "over"))


def test_both_models_are_quoted_to_the_letter():
    opened = make_episode(heard("Rain falls up.", "I would say it's blue."), 1).chapters[0].lines
    replies = {line.speaker: line.text for line in opened}
    assert (replies["Pip"], replies["Oak"]) == ("Rain falls up.", "I would say it's blue.")


def test_a_model_without_a_word_is_not_quoted():
    run = heard(small=" .. ")
    assert "Pip said nothing." in text(run)
    assert {line.speaker for line in lines(run)} == {"Host", "Oak"}


@pytest.mark.parametrize(
    ("reply", "said"), [("Yes, it can.", "So Oak's yes was wrong"), ("No.", "So Oak's no was right")]
)
def test_a_yes_or_no_is_held_against_the_answer_after_the_answer(reply, said):
    told = text(heard(large=reply))
    assert told.index(ANSWERS[2].correct[0]) < told.index(said)


def test_an_admitted_doubt_is_wished_for_and_not_taken_for_knowledge():
    told = text(heard(large="I'm not sure. I'm not sure. I'm not sure."))
    assert "I wish every shaky answer began like that." in told and "It cannot tell when it should." in told


def test_other_replies_get_no_marks():
    told = text(heard())
    assert "Oak's yes" not in told and "Oak's no" not in told
    assert "I give no marks" in told


def test_small_models_are_called_toys_and_large_ones_are_not():
    assert "Both are toys." in text(heard())
    assert "toys" not in text(replace(heard(), large=replace(OAK, description="a model (7.2B parameters)")))


def test_a_loop_is_remarked_upon_in_the_first_chapters_alone():
    asked_later = [chapter for chapter in make_episode(heard(), 1).chapters if chapter.title == "A second question"]
    said = " ".join(line.text for chapter in asked_later for line in chapter.lines)
    assert asked_later and not any(word in said for word in ("round and round", "again and again", "over. And over"))


def test_where_the_data_are_the_users_own_no_reply_is_read_out():
    run = heard("My secret is 1234.", "Her number is 5678.", private=True)
    said = [line.text for line in lines(run) if line.speaker != "Host"]
    assert said == [TRAPS[0].likeliest]  # ours, which Oak chose
    assert "1234" not in script_markdown(make_episode(run, 1)) and "5678" not in text(run)


def test_without_fine_tuning_nobody_claims_any():
    assert "just as it came" in text(heard(finetuned=False))
    assert "lessons" not in text(heard(finetuned=False))


def test_a_model_of_the_same_size_is_not_called_larger():
    assert "times as many" in text(heard())
    assert "times as many" not in text(replace(heard(), large=replace(OAK, description="a model (1.2M parameters)")))


def test_figures_are_rounded_for_the_ear():
    told = text(heard())
    assert "Oak picked the true one about seven times in ten. That is better than tossing a coin." in told
    assert "Pip, about five times in ten. A tossed coin would do as well" in told
    assert "0." not in told


def test_what_was_not_asked_is_not_told():
    run = replace(
        heard(),
        pairs=[],
        traps=[],
        small=replace(PIP, literacy=None, premises=None, own_bits=None),
        large=replace(OAK, literacy=None, premises=None, own_bits=None),
    )
    assert not any(word in text(run) for word in ("coin", "likeliest.", "Oak knows more"))


def test_nobody_is_told_to_know_more_than_a_coin_that_does_not():
    run = replace(heard(), large=replace(OAK, literacy=COIN))
    assert "Oak knows more" not in text(run)


def test_few_pairs_are_a_hint_at_most():
    assert "a hint at most" in text(replace(heard(), large=replace(OAK, literacy=Share(0.6, None, None, 5))))


def test_the_pair_is_one_that_the_larger_model_is_most_surely_wrong_on():
    found = {choose_pair(PAIRS, random.Random(seed)).large_nats for seed in range(50)}
    assert found == {pair.large_nats for pair in sorted(PAIRS, key=lambda one: one.large_nats)[:SURELY_WRONG]}


def test_a_model_that_is_right_is_not_called_wrong():
    right = [replace(pair, large_nats=3.0) for pair in PAIRS]
    assert "Oak went for the true one. It found it about 20 times as likely as the false one." in text(
        heard(pairs=right)
    )
    avoided = [replace(TRAPS[0], fell=False, likeliest="It never sleeps.")]
    assert "That answer does not play along." in text(heard(traps=avoided))


def test_the_script_is_read_back_as_it_was_written():
    episode = make_episode(heard(), 1)
    assert read_script(script_markdown(episode)) == replace(
        episode, chapters=[replace(chapter, lines=list(chapter.lines)) for chapter in episode.chapters]
    )


def test_a_script_without_lines_is_refused_with_what_it_needs():
    with pytest.raises(ValueError, match=r"needs `## 1\. A chapter`"):
        read_script("# Title\n\nSome text.\n")
