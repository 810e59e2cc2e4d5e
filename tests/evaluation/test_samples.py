from llm.evaluation.samples import PROMPTS, opening_of


def test_there_are_twenty_different_prompts():
    assert len(set(PROMPTS)) == 10


def test_a_section_is_opened_by_its_first_words_and_a_short_one_by_its_half():
    assert opening_of("It was a dark and stormy night.") == "It was a dark"
    assert len(opening_of("word " * 200)) <= 200
