"""A long text in contiguous sections: nothing is lost, none is too long, headings begin one."""

from hypothesis import given
from hypothesis import strategies as st

from llm.sources.sections import MAX_SECTION_CHARS, SECTION_CHARS, sections


@given(
    st.lists(
        st.sampled_from(["word ", "A sentence. ", "\n", "\n\n", "# Head\n", "长" * 900, "x" * 1700, "。"]), max_size=60
    )
)
def test_nothing_but_white_space_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    found = sections(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(section.strip() and len(section) <= MAX_SECTION_CHARS for section in found)


def test_a_heading_begins_a_section() -> None:
    chapter = "\n\n".join(["word " * 100] * 4)
    found = sections("\n\n".join(f"Chapter {i}\n\n{chapter}" for i in range(1, 6)))
    assert [section.split("\n")[0] for section in found] == [f"Chapter {i}" for i in range(1, 6)]


def test_a_book_without_paragraphs_is_cut_at_sentences() -> None:
    found = sections("This is a sentence. " * 1000)
    assert all(section.endswith(".") for section in found)
    assert all(len(section) > SECTION_CHARS / 2 for section in found)


def test_a_short_rest_joins_the_section_before_it() -> None:
    assert len(sections("\n\n".join(["word " * 620, "end"]))) == 1


def test_a_paragraph_that_was_cut_is_whole_where_its_pieces_meet() -> None:
    paragraph = "This is a sentence. " * 170  # 3,400 characters: one piece of 3,000 and a short rest
    assert sections(paragraph) == [paragraph.strip()]
