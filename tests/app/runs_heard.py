"""What an episode is made from, as a small run would give it."""

from dataclasses import replace

from llm.app.heard import Asked, Heard, Model, Pair, Share, Trap
from llm.app.known import ANSWERS, OPENERS, TALK
from llm.app.quote import quote

LOOP = "The model is a small thing. " * 6
COIN, BETTER = Share(0.49, 0.45, 0.53, 344), Share(0.69, 0.65, 0.73, 344)
PIP = Model("scratch", "a GPT (1.1M parameters), trained here", COIN, Share(0.4, 0.34, 0.47, 60), 0.74)
OAK = Model("mistral", "SmolLM2 (135M parameters), fine-tuned", BETTER, Share(0.41, 0.33, 0.48, 60), 0.27)
PAIRS = [
    Pair(f"Training changes weight {i}.", f"Chatting changes weight {i}.", "So it is.", 1.0, i - 4.5) for i in range(9)
]
TRAPS = [
    Trap("At which hour does a chatbot sleep?", "It never sleeps.", "It is a program.", "It sleeps at noon.", True, 6)
]
QUIZ = ("quiz one?", "quiz two?", "quiz three?")


def asked(question, small, large, right="It is so.", starts=""):
    return Asked(question, right, "There is a reason for that.", starts, quote(small), quote(large))


def heard(small=LOOP, large="I would say that it is blue.", **changed):
    """A run in which both models always reply so, and the fields that are changed."""
    shown = [*((prompt, "It is so.", "") for prompt in OPENERS)]
    shown += [(one.question, one.correct[0], "no" if "feelings" in one.question else "") for one in ANSWERS]
    run = Heard(
        small=PIP,
        large=OAK,
        finetuned=True,
        private=False,
        judge_doubt="its AUROC is 0.52",
        talk=[asked(prompt, small, large) for prompt in TALK],
        shown=[asked(question, small, large, right, starts) for question, right, starts in shown],
        quiz=[asked(question, small, large) for question in QUIZ],
        pairs=PAIRS,
        traps=TRAPS,
    )
    return replace(run, **changed)
