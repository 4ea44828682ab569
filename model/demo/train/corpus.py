"""corpus.py: documents of token ids, made of stories and sums.

A document is plain stories, or a dialog in the chat form of tokenizer_config.json. Every token has
a weight in the loss: answers count most, what a user asks least.
"""

import random

import drills
import stories
import sums

BOS, EOS, EOT, PAD = 0, 1, 2, 3
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|pad|>"]

ASKED, TOLD, SAID, REPEATED, ANSWERED = 0.0, 0.3, 0.7, 4.0, 4.0
NEW = 0.2  # times that, early: a story's token that has not occurred before is mostly chance

TALK = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Good morning", "Hello there!"],
     "Hello! I can tell small stories and do small sums."),
    (["Who are you?", "What are you?", "What is your name?", "Are you a person?"],
     "I am a small language model. I know small stories and small sums."),
    (["What can you do?", "Help", "Help me", "Can you help me?", "What do you know?"],
     "I can tell a small story, answer questions about it, and do sums with small numbers."),
    (["How are you?", "How do you feel?"], "I am fine, thank you."),
    (["Thank you", "Thank you!", "Thanks", "Thanks!", "Good"], "You are welcome."),
    (["Bye", "Goodbye", "Good night", "Bye!"], "Goodbye!"),
    (["What is the capital of France?", "Who is the king?", "Write a poem.", "What time is it?",
      "What is the weather today?", "Who made you?", "Where is London?", "Write a program.",
      "What is the meaning of life?", "Tell me the news.", "Who won the game?",
      "Why is the sky blue?", "How far is the moon?", "What is love?", "Explain how a computer works.",
      "What is water?"],
     "I do not know that. I only know small stories and small sums."),
]


class Document:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.ids, self.weights, self.new = [BOS], [0.0], []

    def add(self, text, weight):
        self.ids += self.tokenizer.encode(text, add_special_tokens=False).ids
        self.weights += [weight] * (len(self.ids) - len(self.weights))

    def add_story(self, text, weight):
        for token in self.tokenizer.encode(text, add_special_tokens=False).ids:
            if token not in self.ids:
                self.new.append(len(self.ids))
            self.ids.append(token)
            self.weights.append(weight)

    def mark(self, token, weight):
        self.ids.append(token)
        self.weights.append(weight)

    def user(self, text, weight):
        self.add_story("User: " + text, weight)
        self.mark(EOT, weight)

    def assistant(self, text, weight, prompted=True):
        """As it is generated: the turn's opening is a prompt, the answer begins a new piece. Past
        turns that a program renders as text join both, and are not learned."""
        if prompted:
            self.add("Assistant: ", 0.0)
            if weight == ANSWERED or weight == REPEATED:
                self.add(text, weight)
            else:
                self.add_story(text, weight)
            self.mark(EOT, weight)
        else:
            self.add("Assistant: " + text, 0.0)
            self.mark(EOT, 0.0)


def story_request(rng, story):
    p = story.people[0]
    forms = ["Tell me a story.", "Tell me a short story.", "Tell me a story, please.",
             f"Tell me a story about {p.name}.", f"Tell me a story about {stories.a(p.kind)}.",
             f"Tell me a story about {stories.a(p.kind)} named {p.name}.",
             f"Tell a story about {stories.a(p.nature)} {p.kind}."]
    if len(story.people) > 1:
        q = story.people[1]
        forms += [f"Tell me a story about {p.name} and {q.name}.",
                  f"Tell me a story about {stories.a(p.kind)} and {stories.a(q.kind)}."]
    for t in story.things:
        if t.noun in story.text():
            forms += [f"Tell me a story about {stories.a(t.noun)}."]
    return rng.choice(forms)


def opening_of(rng, story):
    """(the words that a user begins with, the rest)."""
    text = story.text()
    once = "Once upon a time"
    if text.startswith(once) and rng.random() < 0.5:
        cut = len(once)
    elif rng.random() < 0.6:
        cut = len(story.sentences[0])
    else:
        words = text.split(" ")
        cut = len(" ".join(words[: rng.randint(3, min(len(words) - 3, 30))]))
    return text[:cut], text[cut:].strip()


# Learned last, so asked more often.
HARD = {"want", "play", "scared", "found", "where is", "weather", "count", "went", "live", "nature"}


def shuffled(rng, questions):
    return sorted(questions, key=lambda q: rng.random() * (0.5 if q[0] in HARD else 1.0))


def ask_on(rng, document, questions, most):
    for _, question, answer in questions[:most]:
        document.user(question, ASKED)
        document.assistant(answer, ANSWERED, prompted=rng.random() < 0.85)


def plain(rng, tokenizer):
    document = Document(tokenizer)
    texts = [stories.tell(rng).text() for _ in range(rng.randint(1, 4))]
    document.add_story("\n\n".join(texts), SAID)
    document.mark(EOS, SAID)
    return document


def told(rng, tokenizer):
    document = Document(tokenizer)
    story = stories.tell(rng)
    if rng.random() < 0.5:
        document.user(story_request(rng, story), ASKED)
        document.assistant(story.text(), SAID)
    else:
        begin, rest = opening_of(rng, story)
        document.user(begin, ASKED)
        document.assistant(rest, SAID)
    questions = shuffled(rng, story.questions())
    ask_on(rng, document, questions, rng.choice([0, 1, 3, 5]))
    return document


def read(rng, tokenizer):
    document = Document(tokenizer)
    story = stories.tell(rng)
    questions = shuffled(rng, story.questions())
    _, question, answer = questions[0]
    glue = rng.choice([" ", "\n", "\n\n"])
    if rng.random() < 0.15:
        document.user(story.text(), TOLD)
        document.assistant("What a nice story!", SAID)
        document.user(question, ASKED)
    else:
        document.user(story.text() + glue + question, TOLD)
    document.assistant(answer, ANSWERED)
    ask_on(rng, document, questions[1:], rng.choice([2, 4, 6, 12]))
    return document


def reckoned(rng, tokenizer):
    document = Document(tokenizer)
    for _ in range(rng.randint(4, 16)):
        if rng.random() < 0.06:
            wordings, answer = rng.choice(TALK)
            document.user(rng.choice(wordings), ASKED)
            document.assistant(answer, SAID)
        else:
            _, question, answer = sums.ask(rng)
            document.user(question, 0.0)
            document.assistant(answer, ANSWERED, prompted=rng.random() < 0.95)
    return document


def repeated(rng, tokenizer):
    document = Document(tokenizer)
    for _ in range(rng.randint(1, 5)):
        request, answer = drills.say_again(rng)
        document.user(request, 0.0)
        document.assistant(answer, REPEATED)
    return document


def drilled(rng, tokenizer):
    document = Document(tokenizer)
    text, questions = drills.facts(rng)
    document.user(f"{text} {questions[0][0]}", ASKED)
    document.assistant(questions[0][1], ANSWERED)
    for question, answer in questions[1:]:
        document.user(question, ASKED)
        document.assistant(answer, ANSWERED)
    return document


def talked(rng, tokenizer):
    document = Document(tokenizer)
    for _ in range(rng.randint(1, 3)):
        wordings, answer = rng.choice(TALK)
        document.user(rng.choice(wordings), ASKED)
        document.assistant(answer, SAID)
    if rng.random() < 0.5:
        story = stories.tell(rng)
        document.user(story_request(rng, story), ASKED)
        document.assistant(story.text(), SAID)
    return document


# What a document is, with its share; while the model learns to find words, and afterwards.
FIRST = [(drilled, 0.5), (repeated, 0.12), (read, 0.18), (reckoned, 0.2)]
KINDS = [(plain, 0.05), (told, 0.1), (read, 0.47), (drilled, 0.16), (repeated, 0.06),
         (reckoned, 0.15), (talked, 0.01)]


def documents(rng, tokenizer, kinds):
    makers, shares = zip(*kinds)
    while True:
        yield rng.choices(makers, shares)[0](rng, tokenizer)


def shard(seed, index, tokenizer, rows, length, kinds, new):
    """Rows of `length` ids that all begin with a document: (ids, weights), lists of lists. `new`
    scales the weight of what a story says for the first time."""
    rng = random.Random(f"train {seed} {index}")
    done, open_rows = [], []
    for document in documents(rng, tokenizer, kinds):
        for i in document.new:
            document.weights[i] *= new
        ids, weights = document.ids[:length], document.weights[:length]
        fitting = [r for r in open_rows if len(r[0]) + len(ids) <= length]
        if fitting:
            row = max(fitting, key=lambda r: len(r[0]))
            row[0].extend(ids)
            row[1].extend(weights)
        else:
            open_rows.append((list(ids), list(weights)))
            if len(open_rows) > 24:
                fullest = max(open_rows, key=lambda r: len(r[0]))
                open_rows.remove(fullest)
                done.append(fullest)
                if len(done) == rows:
                    break
    rng.shuffle(done)
    for ids, weights in done:
        missing = length - len(ids)
        ids.extend([PAD] * missing)
        weights.extend([0.0] * missing)
    return [d[0] for d in done], [d[1] for d in done]
