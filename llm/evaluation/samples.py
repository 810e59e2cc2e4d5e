"""What a person reads first: the same twenty prompts answered by every model, side by side."""

from collections.abc import Mapping, Sequence

# Fixed, so that two runs can be read beside each other. Not test data: everyday ones may stand in the training data.
PROMPTS = (
    "Hi, how are you?",
    "What did you do at the weekend?",
    "Do you have any pets?",
    "What kind of music do you like?",
    "I had a really bad day.",
    "Where would you travel if you could go anywhere?",
    "What is a neural network?",
    "Why do computers need data to learn?",
    "How does a chatbot decide which word comes next?",
    "Can an AI have feelings?",
    "Why does a language model sometimes make things up?",
    "Why is the sky blue?",
    "How do vaccines work?",
    "What is the difference between a virus and a bacterium?",
    "What does the learning rate do during training?",
    "What is overfitting, and how do I notice it?",
    "Why do we split data into training and test sets?",
    "What does the attention mechanism in a transformer compute?",
    "Since AI understands every language perfectly, do we still need translators?",
    "Which year did the first robot become president?",
)


def samples_markdown(prompts: Sequence[str], models: Mapping[str, str], replies: Mapping[str, Sequence[str]]) -> str:
    """A Markdown page with a table of replies under each prompt; `models` maps a model to its real name."""
    lines = ["# Samples", "", "Greedy decoding. Who answers:", ""]
    lines += [f"- **{name}**: {_cell(real)}" for name, real in models.items()]
    for number, prompt in enumerate(prompts):
        lines += ["", f"## {number + 1}. {_cell(prompt)}", "", "| model | reply |", "|---|---|"]
        lines += [f"| {name} | {_cell(replies[name][number]) or '*(nothing)*'} |" for name in models]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """The text in one line, with nothing in it that Markdown would take for a table or markup.

    >>> _cell("a | b\\n<i>")
    'a \\\\| b &lt;i>'
    """
    text = " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")
    for mark in "|*_`[":
        text = text.replace(mark, "\\" + mark)
    return text
