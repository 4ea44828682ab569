"""heldout.py: what training never sees: held-out stories, questions about them, held-out sums."""

import random

import corpus
import stories
import sums


def text(seed, n_stories):
    """Plain held-out stories."""
    rng = random.Random(f"held out text {seed}")
    return "\n\n".join(stories.tell(rng).text() for _ in range(n_stories)) + "\n"


def questions(seed, n):
    """n of (group, kind, prompt, answer): half about held-out stories, half held-out sums."""
    rng = random.Random(f"held out questions {seed}")
    for i in range(n):
        if i % 2 == 0:
            story = stories.tell(rng)
            kind, question, answer = rng.choice(story.questions())
            yield "story", kind, f"{story.text()}\n{question}", answer
        else:
            yield ("sum", *sums.ask(rng, held_out=True))


def dialog(tokenizer, prompt, answer):
    """(ids, where the answer begins): the question in the chat form, answered and ended."""
    document = corpus.Document(tokenizer)
    document.user(prompt, 0.0)
    document.add("Assistant: ", 0.0)
    begin = len(document.ids)
    document.add(answer, corpus.ANSWERED)
    document.mark(corpus.EOT, 1.0)
    return document.ids, begin
