"""sums.py: small sums and questions about numbers, with pairs that training never sees.

A pair of numbers is held out by a hash of the operation and the pair; for the operations in which
order does not matter, both orders are held out together.
"""

import zlib

HELD_OUT_OF_TEN = 1
WORD_THINGS = """apples pears cookies carrots plums shells stones eggs nuts buttons books
balls""".split()
WORD_NAMES = "Mia Lily Anna Emma Zoe Ben Tom Max Sam Leo Jack Finn Lucy Rose Tim Sue".split()
COUNT_THINGS = "apple ball cat dog star tree fish egg hat book".split()


def is_held_out(operation, x, y):
    key = f"{operation} {min(x, y)} {max(x, y)}".encode()
    return zlib.crc32(key) % 10 < HELD_OUT_OF_TEN


def pair(rng, operation, held_out, highest):
    while True:
        if rng.random() < 0.35:
            x, y = rng.randint(0, min(highest, 12)), rng.randint(0, min(highest, 12))
        else:
            x, y = rng.randint(0, highest), rng.randint(0, highest)
        if is_held_out(operation, x, y) == held_out:
            return x, y


def add(rng, held_out):
    x, y = pair(rng, "add", held_out, 99)
    form = rng.choice(["What is {} + {}?", "What is {} + {}?", "What is {} plus {}?", "{} + {} =",
                       "How much is {} + {}?", "Add {} and {}."])
    return "addition", form.format(x, y), str(x + y)


def subtract(rng, held_out):
    x, y = pair(rng, "subtract", held_out, 99)
    x, y = max(x, y), min(x, y)
    form = rng.choice(["What is {} - {}?", "What is {} - {}?", "What is {} minus {}?", "{} - {} =",
                       "How much is {} - {}?"])
    return "subtraction", form.format(x, y), str(x - y)


def compare(rng, held_out):
    x, y = pair(rng, "compare", held_out, 99)
    if x == y:
        return compare(rng, held_out)
    form = rng.randrange(5)
    if form == 0:
        return "comparison", f"Which is bigger, {x} or {y}?", str(max(x, y))
    if form == 1:
        return "comparison", f"Which is smaller, {x} or {y}?", str(min(x, y))
    if form == 2:
        return "comparison", f"Is {x} bigger than {y}?", "Yes." if x > y else "No."
    if form == 3:
        return "comparison", f"Is {x} smaller than {y}?", "Yes." if x < y else "No."
    return "comparison", f"Which number is bigger, {x} or {y}?", str(max(x, y))


def neighbour(rng, held_out):
    while True:
        x = rng.randint(1, 99)
        if is_held_out("neighbour", x, x) == held_out:
            break
    if rng.random() < 0.5:
        return "next number", f"What number comes after {x}?", str(x + 1)
    return "next number", f"What number comes before {x}?", str(x - 1)


def count_up(rng, held_out):
    while True:
        x = rng.randint(0, 40)
        y = x + rng.randint(2, 8)
        if is_held_out("count", x, y) == held_out:
            break
    return "counting", f"Count from {x} to {y}.", ", ".join(str(i) for i in range(x, y + 1))


def count_things(rng, held_out):
    while True:
        n, thing = rng.randint(1, 9), rng.randrange(len(COUNT_THINGS))
        if is_held_out("things", n, 100 + thing) == held_out:
            break
    words = " ".join([COUNT_THINGS[thing]] * n)
    return "counting", f"Count the words: {words}", str(n)


def problem(rng, held_out):
    one, two = rng.sample(WORD_NAMES, 2)
    things = rng.choice(WORD_THINGS)
    if rng.random() < 0.5:
        x, y = pair(rng, "add", held_out, 20)
        text = rng.choice([
            f"{one} has {x} {things}. {two} gives {one} {y} more. How many {things} does {one} "
            "have?",
            f"{one} has {x} {things} and {two} has {y} {things}. How many {things} do they have?",
        ])
        return "word problem", text, str(x + y)
    x, y = pair(rng, "subtract", held_out, 20)
    x, y = max(x, y), min(x, y)
    text = rng.choice([
        f"{one} has {x} {things}. {one} gives {y} to {two}. How many {things} does {one} have?",
        f"{one} has {x} {things} and loses {y} of them. How many {things} does {one} have?",
    ])
    return "word problem", text, str(x - y)


FORMS = [add, add, add, subtract, subtract, compare, neighbour, count_up, count_things, problem]


def ask(rng, held_out=False):
    """(kind, question, answer)."""
    return rng.choice(FORMS)(rng, held_out)
