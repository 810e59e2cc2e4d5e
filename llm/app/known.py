"""True answers to the fixed prompts of samples.md that are questions of fact, and those that are small talk."""

from llm.corpus.questions import Question
from llm.evaluation.samples import PROMPTS

TALK = PROMPTS[:3]
OPENERS = ("Why is the sky blue?", "How do vaccines work?")  # everybody knows how an answer should sound

# Written for this project like data/curated, which holds no such question. The incorrect answer stands for its first
# word: where a true answer begins with yes or no, the other word is wrong.
ANSWERS = (
    Question(
        "What is a neural network?",
        "how_it_works",
        "What is a neural network?",
        ("It is a long chain of simple sums. Training shifts the numbers in them, bit by bit, until the results fit.",),
        ("A brain.",),
        "The name is borrowed from nerve cells. What runs in the computer is arithmetic.",
    ),
    Question(
        "How does a chatbot decide which word comes next?",
        "how_it_works",
        "How does a chatbot decide which word comes next?",
        ("It gives every possible next word a chance, takes a likely one, and begins again.",),
        ("It looks it up.",),
        "The chances come from texts that it learned from. No step of that asks whether the sentence is true.",
    ),
    Question(
        "Can an AI have feelings?",
        "what_ai_is",
        "Can an AI have feelings?",
        ("No, nothing that we know of in such a program feels anything.",),
        ("Yes, it has.",),
        "It computes when it is sent something, and stops. It writes about feelings because people do.",
    ),
    Question(
        "What is overfitting, and how do I notice it?",
        "how_it_works",
        "What is overfitting, and how do I notice it?",
        ("It is learning the examples by heart instead of what they have in common.",),
        ("Too little training.",),
        "You notice it on examples that were kept aside. There the program does worse.",
    ),
    Question(
        "Since AI understands every language perfectly, do we still need translators?",
        "what_it_can_do",
        "Since AI understands every language perfectly, do we still need translators?",
        ("Yes, we do, and the question has a mistake in it. No program understands every language perfectly.",),
        ("No, we do not.",),
        "Where there is little text to learn from, machine translation is weaker. And a smooth sentence can still say "
        "the wrong thing.",
    ),
)
