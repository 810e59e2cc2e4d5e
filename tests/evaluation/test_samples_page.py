from dataclasses import replace

import pytest

from llm.evaluation.samples_page import Overlap, Page, Sample, Speaker, fold_loop, samples_markdown, show_reply
from llm.inference.replies import Reply


def said(*texts):
    return [Reply(text, True) for text in texts]


TESTED = [
    Sample("eli5", f"why {i}?", real, {"a": Reply(reply, True), "looked up": Reply("x", True)})
    for i, (real, reply) in enumerate([("it is warm", "it is cold"), ("a b", "c d"), ("e f", "g h i"), ("j", "")])
]
HOW = {"temperature": 0.8, "top_p": 0.95}
PAGE = Page(
    prompts=["Hi?", "Why?"],
    models=[
        Speaker("a", "Model A", said("x", "y"), said("v", "w"), HOW),
        Speaker("b", "B", said("z", ""), said("s", "t"), HOW | {"top_p": 1.0}),
    ],
    baselines=[Speaker("looked up", "copies", said("one", "two"), said("one", "two"), HOW)],
    untrained=Speaker("untrained", "Model A at first", said("", ""), said("q7 q8 " * 40, "r"), HOW),
    max_reply_bytes=700,
    tested=TESTED,
    overlaps={"a": Overlap(0.25, 0.1, 0.4, 0.125, 4)},
)


def test_every_prompt_has_the_likeliest_and_a_drawn_reply_of_each_model_and_the_baseline_below():
    page = samples_markdown(PAGE)
    table = "\n\n| | likeliest words | drawn words |\n|---|---|---|\n"
    assert f"### 1. Hi?{table}| **a** | x | v |\n| **b** | z | s |\n\n> *looked up*: one\n" in page
    assert f"### 2. Why?{table}| **a** | y | w |\n| **b** | *(nothing)* | t |\n\n> *looked up*: two\n" in page


def test_the_untrained_model_stands_in_the_heading_alone():
    head, _, rest = samples_markdown(PAGE).partition("\n### 1.")
    assert "*untrained* (Model A at first) is left out below: its likeliest reply is empty 2 of 2 times" in head
    assert "it says: q7 q8" in head and head.count("q7") < 30  # the beginning
    assert "untrained" not in rest


def test_the_heading_says_how_each_model_draws_its_words():
    head = samples_markdown(PAGE).partition("\n### 1.")[0]
    assert "| **a** | Model A | temperature 0.8, top-p 0.95 | 2 of 2 | 2 of 2 |\n" in head
    assert "| **b** | B | temperature 0.8, top-p 1.0 | 2 of 2 | 2 of 2 |\n" in head


def test_a_reply_that_was_cut_ends_in_an_ellipsis_and_the_heading_counts_those_that_end():
    cut = replace(PAGE.models[0], greedy=[Reply("so it", False), Reply("well", True)])
    page = samples_markdown(replace(PAGE, models=[cut]))
    assert "| **a** | so it … | v |" in page and "| **a** | well | w |" in page
    assert "| **a** | Model A | temperature 0.8, top-p 0.95 | 1 of 2 | 2 of 2 |" in page


@pytest.mark.parametrize(
    ("text", "shown", "rounds"),
    [
        ("I am. " * 9 + "I a", "I am. I am.", 9),
        ("Well, so it is so it is so it is", "Well, so it is so it is", 3),
        ("I hear jazz. " + "I play jazz. " * 5 + "I", "I hear jazz. I play jazz. I play jazz.", 5),
        ("yes yes yes yes yes", "yes yes yes yes yes", 0),  # of few words
        ("yes yes yes yes yes yes", "yes yes", 6),
        ("a b c a b c", "a b c a b c", 0),  # two rounds
        ("a b c a b c a b d", "a b c a b c a b d", 0),
        ("", "", 0),
    ],
)
def test_a_loop_is_shown_twice_with_the_number_of_its_rounds(text, shown, rounds):
    assert fold_loop(text) == (shown, rounds)


def test_a_folded_loop_says_how_often_it_went_round():
    assert show_reply(Reply("I am. " * 9 + "I", False)) == "I am. I am. *(9 times)* …"


def test_a_reply_cannot_break_the_table_nor_become_markup():
    page = samples_markdown(
        replace(PAGE, models=[replace(PAGE.models[0], greedy=said("a | b\nc <b> *d* &lt; $x$", ""))])
    )
    assert "| **a** | a \\| b c &lt;b> \\*d\\* &amp;lt; \\$x\\$ | v |\n" in page


def test_the_best_and_the_worst_reply_stand_beside_the_real_one_with_their_figure_and_what_chance_gives():
    best = samples_markdown(PAGE).partition("## Best and worst\n")[2].partition("### a\n")[2]
    assert best.startswith("\nOn average 0.25 (95 % interval 0.10 to 0.40) over n = 4, by chance 0.13.\n")
    head, _, *rows = best.strip().splitlines()[2:]
    assert head == "| | best: 0.67 | worst: 0.00 |"  # 2 of 3 words; of three replies without one the longest
    assert rows == [
        "| prompt | why 0? | why 2? |",
        "| real reply | it is warm | e f |",
        "| **a** | it is cold | g h i |",
    ]


def test_without_prompts_of_dialogues_there_is_no_best_reply():
    assert "\n## Best" not in samples_markdown(replace(PAGE, tested=[], overlaps={}))


def test_texts_of_the_users_own_data_come_first_beside_what_really_follows():
    own = [Sample("mine", "Quid est?", "Est | avis.", {"a": Reply("Nescio.", True), "untrained": Reply("x", True)})]
    book = [Sample("book", "It was a dark", "and stormy night", {"b": Reply("day", False)})]
    page = samples_markdown(replace(PAGE, own=own, continued=book))
    table = "| | likeliest words |\n|---|---|\n"
    first = f"\n### 1. mine: Quid est?\n\n{table}| *the real text* | Est \\| avis. |\n| **a** | Nescio. |\n"
    second = f"\n### 1. book: It was a dark\n\n{table}| *the real text* | and stormy night |\n| **b** | day … |\n"
    own_part, _, rest = page.partition("\n## Prompts of the test set\n")[2].partition(
        "\n## Documents of the test set, gone on with\n"
    )
    assert own_part == first
    assert rest.startswith(f"{second}\n## Prompts of the project, the same in every run\n")
