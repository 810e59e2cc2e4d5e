"""What each number of the report means, and what it does not; and what no number of it can say."""

from llm.app.markdown import markdown_table

MEANINGS = (
    (
        "bits per byte",
        "How well a model foresees what a person really replied: the bits it needs for each byte. Fewer are better. "
        "Models of different tokenizers can be compared.",
        "Not whether its own replies are good, or true: it never looks at them.",
    ),
    (
        "BLEU, chrF++",
        "How many runs of words or characters a written reply shares with the real one, 0 to 100.",
        "Not sense. Two good replies to one prompt may share nothing, and any two English texts share something: look "
        "at "
        "what unrelated replies get.",
    ),
    (
        "literacy",
        "The share of pairs of statements on AI, one true and one false, of which it finds the true one likelier. Both "
        "have nearly the same words.",
        "Not that it would say the true one when asked. At 50 % it tells nothing apart.",
    ),
    (
        "false premises",
        "The share of answers that correct a wrong question which it finds likelier than answers that play along.",
        "Not knowledge alone: below 50 % it follows the words of the question.",
    ),
    (
        "replies that loop",
        "The share of its likeliest replies that are empty or repeat themselves.",
        "Nothing of replies whose words are drawn by their probability.",
    ),
    (
        "95 % interval",
        "Where the figure would lie in 95 of 100 draws of other test items of the same kind.",
        "Not the luck of training: another seed gives another model. Nor other kinds of text.",
    ),
    (
        "verdict",
        "Whether a difference is larger than test items and training seeds explain.",
        "`can't tell` does not mean that two models are equal. It means that this run cannot show which is better.",
    ),
)
STANDING = (
    "A pretrained model may have read texts like the test set's. Nobody can rule that out from here.",
    "An interval covers the choice of test items, not the luck of the initial weights. Where a verdict says `one "
    "seed`, "
    "another seed gives other figures.",
    "Whoever looks at many figures finds one that differs by chance. The headline figures are held to 5 % together, "
    "each "
    "other one by itself.",
)


def meanings_markdown() -> str:
    """The table of meanings, and where to read on."""
    table = markdown_table(("figure", "what it says", "what it does not say"), MEANINGS)
    return f"{table}\n\n[Reading the figures](../docs/figures.md) explains each of them at length."
