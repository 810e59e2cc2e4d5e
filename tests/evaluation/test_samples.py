from llm.evaluation.samples import PROMPTS, samples_markdown


def test_there_are_twenty_different_prompts():
    assert len(set(PROMPTS)) == 20


def test_every_prompt_has_every_model_side_by_side():
    page = samples_markdown(["Hi?", "Why?"], {"a": "Model A", "b": "Model B"}, {"a": ["x", "y"], "b": ["z", ""]})
    assert page.count("| a |") == page.count("| b |") == 2
    assert "## 2. Why?\n\n| model | reply |\n|---|---|\n| a | y |\n| b | *(nothing)* |\n" in page


def test_a_reply_cannot_break_the_table():
    page = samples_markdown(["Hi"], {"a": "A"}, {"a": ["one | two\nthree <b> *four*"]})
    assert "| a | one \\| two three &lt;b> \\*four\\* |\n" in page
