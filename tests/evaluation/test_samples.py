from llm.evaluation.samples import PROMPTS, Sample, samples_markdown, with_ellipsis


def test_there_are_twenty_different_prompts():
    assert len(set(PROMPTS)) == 20


def test_every_prompt_has_every_model_side_by_side():
    page = samples_markdown(["Hi?", "Why?"], {"a": "Model A", "b": "Model B"}, {"a": ["x", "y"], "b": ["z", ""]})
    assert page.count("| a |") == page.count("| b |") == 2
    assert "## 2. Why?\n\n| model | reply |\n|---|---|\n| a | y |\n| b | *(nothing)* |\n" in page


def test_a_reply_that_was_cut_ends_in_an_ellipsis():
    assert [with_ellipsis("so it", ended) for ended in (True, False)] == ["so it", "so it …"]


def test_a_reply_cannot_break_the_table():
    page = samples_markdown(["Hi"], {"a": "A"}, {"a": ["one | two\nthree <b> *four*"]})
    assert "| a | one \\| two three &lt;b> \\*four\\* |\n" in page


def test_prompts_and_documents_of_the_test_set_stand_beside_what_really_follows():
    own = [Sample("mine", "Quid est?", "Est | avis.", {"a": "Nescio.", "other": "x"})]
    book = [Sample("book", "It was a dark", "and stormy night", {"b": "day"})]
    page = samples_markdown(["Hi?"], {"a": "A", "b": "B"}, {"a": ["x"], "b": ["z"]}, own, book)
    before, _, behind = page.partition("\n## Prompts of the test set\n")
    alone = samples_markdown(["Hi?"], {"a": "A", "b": "B"}, {"a": ["x"], "b": ["z"]})
    head, _, fixed = alone.partition("\n## 1. Hi?")
    assert before == head
    table = "| model | reply |\n|---|---|\n"
    first = f"\n### 1. mine: Quid est?\n\n{table}| *the real text* | Est \\| avis. |\n| a | Nescio. |\n"
    second = f"\n### 1. book: It was a dark\n\n{table}| *the real text* | and stormy night |\n| b | day |\n"
    rest = f"\n## Prompts of the project, the same in every run\n\n## 1. Hi?{fixed}"
    assert behind == f"{first}\n## Documents of the test set, gone on with\n{second}{rest}"
