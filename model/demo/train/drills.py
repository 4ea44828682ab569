"""drills.py: short dialogs that need only one thing: to find words that stand earlier in the text.

Lists of facts with questions, and words to be said again. Stories need the same skill among much
else; here it is learned first.
"""

import stories

NAMES = stories.GIRLS + stories.BOYS + stories.PETS


def last_words(phrases):
    return sorted({phrase.split()[-1] for phrase in phrases})


PLACES = last_words(place for place, _ in stories.PLACES)
SPOTS = last_words(stories.SPOTS)
PLACED = sorted({spot.split()[0] for spot in stories.SPOTS})
DONE = sorted({word for do, _ in stories.TASKS for word in do.split()})
FELT = sorted({*stories.LAST_FEELINGS, "upset", "worried", "unhappy", "brave", "safe", "calm"})
REST = sorted({*last_words(stories.SCARY), *last_words(stories.GAMES), *last_words(stories.HOMES),
               *(word for word, _ in stories.WEATHERS), *stories.NUMBERS[1:]})


def words_of(rng):
    pools = (NAMES, NAMES, stories.THINGS, stories.ANIMALS, stories.COLORS, stories.NATURES,
             stories.FOODS, stories.COUNTED, PLACES, PLACES, SPOTS, SPOTS, PLACED, DONE, DONE, FELT,
             REST, REST)
    return [rng.choice(rng.choice(pools)) for _ in range(rng.randint(3, 14))]


def say_again(rng):
    """(request, answer)."""
    text = " ".join(words_of(rng))
    return rng.choice(["Say again: {}", "Repeat: {}"]).format(text), f"I say {text}."


def facts(rng):
    """(a list of facts, questions with their answers)."""
    sentences, questions = [], []
    names = rng.sample(NAMES, rng.randint(2, 5))
    things = rng.sample(stories.THINGS, len(names))
    spots = rng.sample(stories.SPOTS, len(names))
    places = rng.sample(stories.PLACES, len(names))
    forms = rng.sample(range(5), rng.randint(1, 2))
    for name, thing, spot, (place, preposition) in zip(names, things, spots, places):
        form = rng.choice(forms)
        if form == 0:
            color = rng.choice(stories.COLORS)
            sentences.append(f"{name} has {stories.a(color)} {thing}.")
            questions += [
                (f"Who has the {thing}?", f"The {thing} is with {name}."),
                (f"What does {name} have?", stories.upper(f"{stories.a(color)} {thing}.")),
                (f"What color was the {thing}?", f"It was {color}."),
            ]
        elif form == 1:
            sentences.append(f"The {thing} is {spot}.")
            questions += [(f"Where is the {thing}?", f"{stories.upper(spot)}."),
                          (f"What is {spot}?", f"The {thing}.")]
        elif form == 2:
            sentences.append(f"{name} went to {place}.")
            questions += [(f"Where is {name}?", f"{stories.upper(preposition)} {place}."),
                          (f"Who went to {place}?", f"It was {name}.")]
        elif form == 3:
            kind, nature = rng.choice(stories.ANIMALS), rng.choice(stories.NATURES)
            sentences.append(f"{name} was {stories.a(nature)} {kind}.")
            questions += [(f"Who was {name}?", stories.upper(f"{stories.a(nature)} {kind}.")),
                          (f"What animal was {name}?", f"It was {stories.a(kind)}.")]
        else:
            other = rng.choice([n for n in names if n != name])
            sentences.append(f"{name} gave the {thing} to {other}.")
            questions += [(f"Who gave the {thing} to {other}?", f"It was {name}."),
                          (f"Who has the {thing} now?", f"The {thing} is with {other}.")]
    rng.shuffle(questions)
    return " ".join(sentences), questions[: rng.randint(4, 12)]
