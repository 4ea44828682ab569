"""stories.py: small stories with a world behind them, and the questions that the world answers.

A story is a run of events over a state: who is where, who has what, where things lie, how people
feel, how many there are of something. Each event changes the state and writes a sentence or two;
the questions are asked of the facts and of the final state, so a model can only answer them by
following the story. Answers begin with a common word, so that what must be found in the story is
the same tokens there and here.
"""

GIRLS = """
Mia Lily Anna Sue Emma Zoe Ella Lucy Rose Nora Ruby Ivy Kate Jane Amy Eva Lena Tina Clara Daisy
Sara Laura Julia Alice Grace Hannah Maya Molly Nina Olivia Sophie Stella Vera Wendy Holly Freya
Greta Hazel Iris June Leah Martha Penny Polly Sally Susan Tess Violet Willow Betty
""".split()
BOYS = """
Tim Ben Tom Max Sam Leo Jack Finn Noah Adam Luke Paul Dan Nick Oscar Hugo Felix Theo Joe Peter
Alex Andy Bill Bob Carl David Eric Frank Fred George Harry Henry Ian Jacob Jim John Kevin Liam
Mark Martin Matt Mike Oliver Owen Ralph Robin Roy Simon Toby Will
""".split()
PETS = """
Pip Coco Momo Bobo Nibbles Fluffy Spot Buddy Tiny Lulu Benny Toto Milo Rusty Bella Kiki Otto
Poppy Dodo Ziggy Biscuit Bubbles Button Chip Cloud Dash Dusty Ginger Honey Hoppy Jumper Lucky
Mittens Nutty Patch Pebble Pepper Pickle Puff Roly Scamper Shadow Snowy Socks Sunny Tango Teddy
Whiskers Wiggles Zippy
""".split()
ANIMALS = """
fox rabbit bear cat dog mouse frog duck bird owl squirrel hedgehog turtle pig sheep goat pony
lion monkey elephant penguin kitten puppy tiger horse cow hen goose swan crow wolf deer badger
otter beaver hamster donkey camel zebra giraffe panda koala seal dolphin snail bee dragon
""".split()
NATURES = """
little kind happy brave clever shy funny curious gentle quiet lazy friendly young cheerful
careful small big old tall tiny polite noisy playful busy smart sleepy strong silly patient
honest lonely grumpy
""".split()
SCENES = [
    "A bird sang in a tree.", "The sky was blue and clear.", "Two butterflies danced in the air.",
    "The grass was soft and green.", "A little stream ran over the stones.",
    "The leaves were red and golden.", "Bees hummed around the flowers.",
    "The moon was bright and round.", "Stars twinkled in the sky.", "White clouds floated by.",
    "The air smelled of fresh bread.", "Somewhere a bell rang.", "A train went by far away.",
    "The water was clear and cool.", "It was quiet, and nothing moved.",
    "Children were playing outside.", "Music came from an open window.",
    "A snail crept slowly over the path.", "The path was long and full of stones.",
    "The wind whispered in the branches.", "Everyone was still asleep.",
    "Smoke rose from the chimneys.", "A rainbow stood over the hills.",
    "The birds flew south for the winter.", "Tall trees stood on both sides.",
]
LESSONS = [
    "It is good to share.", "It is good to have a friend.", "Always tell the truth.",
    "Never give up.", "Being kind is better than being strong.", "Together everything is easier.",
    "It is brave to ask for help.", "Small ones can do big things.", "Be careful with your things.",
    "A friend is the best gift.",
]
HOMES = [
    "in a tiny hut", "in a tall tower", "on a green hill", "next to the bakery", "in a deep cave",
    "under a bridge", "behind the mill", "in a blue tent", "on a small island",
    "in a small house", "in a big house", "in a red house", "near a lake", "near a forest",
    "in a little village", "on a farm", "in a quiet town", "at the end of a long road",
    "in an old tree", "by the sea",
]
PLACES = [
    ("the garden", "in"), ("the park", "in"), ("the forest", "in"), ("the kitchen", "in"),
    ("the river", "by"), ("the lake", "by"), ("the beach", "on"), ("the hill", "on"),
    ("the farm", "on"), ("the market", "at"), ("the school", "at"), ("the pond", "by"),
    ("the barn", "in"), ("the field", "in"), ("the bridge", "on"), ("the library", "in"),
    ("the bakery", "in"), ("the meadow", "in"), ("the cave", "in"), ("the playground", "on"),
]
SPOTS = [
    "in the box", "under the bed", "on the table", "in the basket", "behind the door",
    "under the tree", "on the chair", "in the drawer", "behind the sofa", "under the bench",
    "in the bag", "on the shelf", "next to the big rock", "in the tall grass", "under a leaf",
    "behind the fence",
    "under the stairs", "in the cupboard", "on the roof", "behind the curtain", "in the mud",
    "under a stone", "on the wall", "in the nest", "in the bushes", "near the gate",
    "behind the tree", "in the sand", "under the rug", "in the corner", "on the window sill",
    "between the flowers", "in the hole", "on a branch",
]
COLORS = """
red blue green yellow white black brown purple orange pink golden silver gray shiny wooden
striped
""".split()
THINGS = """
ball hat kite book cup key boat doll drum shoe scarf spoon lamp umbrella bell balloon car stick
ring feather shell coat flute ribbon button pencil blanket whistle wagon kettle bottle clock
mirror necklace ladder bucket hammer puzzle camera candle pillow jacket sweater glove sock crown
sword map letter picture rope broom brush plate jar pot pan lantern violin guitar trumpet train
rocket robot puppet coin stone pearl
""".split()
FOODS = """
apple pear cookie cake carrot berry banana plum sandwich pancake muffin peach cherry lemon
orange tomato potato pie waffle melon cucumber onion biscuit bun pretzel donut
""".split()
COUNTED = """
apples pears cookies carrots berries plums shells stones flowers eggs leaves nuts buttons
feathers sticks cherries coins marbles pencils acorns candles balloons stickers beads
""".split()
NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty
""".split()
WEATHERS = [
    ("sunny", ["The sun was shining.", "It was a sunny day.", "It was warm and sunny."]),
    ("rainy", ["It was raining.", "It was a rainy day.", "Rain fell from the dark sky."]),
    ("windy", ["It was a windy day.", "A strong wind was blowing.", "It was very windy."]),
    ("cold", ["It was a cold day.", "It was cold outside.", "The air was very cold."]),
    ("snowy", ["It was snowing.", "It was a snowy day.", "Soft snow fell from the sky."]),
    ("hot", ["It was a hot day.", "It was very hot outside.", "The day was long and hot."]),
]
LAST_FEELINGS = """happy tired proud glad sad excited sleepy curious angry lonely surprised bored
jealous cozy
""".split()
GAMES = ["hide and seek", "tag", "a game", "catch", "in the sand", "with a rope", "house",
         "football", "pirates", "cards", "with marbles", "a new game", "knights", "music"]
SCARY = [
    "a loud noise", "the dark", "a big shadow", "the thunder", "a strange sound", "the storm",
    "a big spider", "the deep water",
    "the old house", "the lightning", "a growling dog", "the tall waves", "a ghost",
    "the empty room", "a snake", "the steep path",
]
TASKS = [
    ("clean the room", "cleaned the room"), ("bake a cake", "baked a cake"),
    ("build a house", "built a house"), ("plant a tree", "planted a tree"),
    ("paint the fence", "painted the fence"), ("cook some soup", "cooked some soup"),
    ("fix the boat", "fixed the boat"), ("wash the dishes", "washed the dishes"),
    ("feed the chickens", "fed the chickens"), ("make a snack", "made a snack"),
    ("pick some flowers", "picked some flowers"), ("draw a picture", "drew a picture"),
    ("write a letter", "wrote a letter"), ("learn a song", "learned a song"),
    ("climb the tall tree", "climbed the tall tree"), ("cross the river", "crossed the river"),
    ("make a kite", "made a kite"), ("sweep the floor", "swept the floor"),
    ("carry the heavy box", "carried the heavy box"), ("read a book", "read a book"),
    ("dig a hole", "dug a hole"), ("water the plants", "watered the plants"),
    ("catch a fish", "caught a fish"), ("sew a dress", "sewed a dress"),
    ("open the old chest", "opened the old chest"), ("mend the roof", "mended the roof"),
    ("build a sand castle", "built a sand castle"), ("light a fire", "lit a fire"),
    ("make a snowman", "made a snowman"), ("dance for the king", "danced for the king"),
]


def a(words):
    return ("an " if words[0] in "aeiou" or words.startswith("honest") else "a ") + words


def upper(text):
    return text[0].upper() + text[1:]


class Person:
    def __init__(self, rng, taken):
        kind = rng.random()
        pool, self.kind = (GIRLS, "girl") if kind < 0.3 else (BOYS, "boy")
        if kind >= 0.6:
            pool, self.kind = PETS, rng.choice([x for x in ANIMALS if x not in taken])
        self.name = rng.choice([x for x in pool if x not in taken])
        taken.update((self.name, self.kind) if kind >= 0.6 else (self.name,))
        is_she = self.kind == "girl" or (kind >= 0.6 and rng.random() < 0.5)
        self.he, self.him, self.his = ("she", "her", "her") if is_she else ("he", "him", "his")
        self.nature = rng.choice(NATURES)
        self.is_animal = kind >= 0.6
        self.place = None
        self.feeling = None


class Thing:
    def __init__(self, rng, taken):
        self.noun = rng.choice([x for x in THINGS if x not in taken])
        self.color = rng.choice(COLORS)
        taken.add(self.noun)
        self.full = f"{self.color} {self.noun}"
        self.holder = None
        self.spot = None
        self.was_lost = False


class Story:
    """Sentences, and the facts that can be asked about."""

    def __init__(self, rng):
        self.rng = rng
        self.taken = set()
        self.people = []
        self.things = []
        self.sentences = []
        self.facts = {}  # question -> (kind, answer, the other wordings)

    # What the events are made of.

    def say(self, *choices):
        self.sentences.append(self.rng.choice(choices))

    def chance(self, p):
        return self.rng.random() < p

    def fact(self, kind, answer, *questions):
        """A question that gets two answers is not asked."""
        known = self.facts.get(questions[0])
        if known is not None and known[1] != answer:
            self.facts[questions[0]] = (kind, None, questions)
        else:
            self.facts[questions[0]] = (kind, answer, questions)

    def person(self):
        someone = Person(self.rng, self.taken)
        self.people.append(someone)
        return someone

    def thing(self):
        something = Thing(self.rng, self.taken)
        self.things.append(something)
        return something

    def new_place(self, someone):
        """A place nobody has been to in this story, so that each visit is one fact."""
        place = self.rng.choice([p for p in PLACES if p[0] not in self.taken])
        self.taken.add(place[0])
        someone.place = place
        return place

    def new_spot(self):
        spot = self.rng.choice([x for x in SPOTS if x not in self.taken])
        self.taken.add(spot)
        return spot

    # Events.

    def introduce(self, p, first):
        kind, nature, friend = p.kind, p.nature, self.people[0]
        if first:
            self.say(
                f"Once upon a time there was {a(nature)} {kind} named {p.name}.",
                f"Once upon a time, there was {a(nature)} {kind}. {upper(p.his)} name was "
                f"{p.name}.",
                f"Once there was {a(nature)} {kind} called {p.name}.",
                f"{p.name} was {a(nature)} {kind}.",
                f"One day, {a(nature)} {kind} named {p.name} woke up early.",
                f"Once upon a time {a(nature)} {kind} named {p.name} lived "
                f"{self.rng.choice(HOMES)}.",
            )
            if self.chance(0.3):
                home = self.rng.choice(HOMES)
                if " lived " not in self.sentences[-1]:
                    self.say(f"{upper(p.he)} lived {home}.", f"{p.name} lived {home}.")
                    self.fact("live", f"{upper(home)}.", f"Where did {p.name} live?")
        else:
            self.say(
                f"{friend.name} had a friend named {p.name}. {p.name} was {a(nature)} {kind}.",
                f"{upper(friend.his)} best friend was {a(nature)} {kind} named {p.name}.",
                f"Then {a(nature)} {kind} named {p.name} came along.",
                f"{p.name} was {friend.name}'s friend. {upper(p.he)} was {a(nature)} {kind}.",
            )
        if p.is_animal:
            self.fact("kind", f"It was {a(kind)}.", f"What kind of animal was {p.name}?",
                      f"What animal was {p.name}?")
            self.fact("name", f"It was {p.name}.", f"What was the name of the {kind}?")
        self.fact("nature", f"{upper(a(nature))} {kind}.", f"Who was {p.name}?")

    def weather(self):
        word, texts = self.rng.choice(WEATHERS)
        self.say(*texts)
        self.fact("weather", f"It was {word}.", "What was the weather like?",
                  "How was the weather?")

    def own(self, p, t):
        t.holder = p
        self.say(
            f"{p.name} had {a(t.full)}.",
            f"{p.name} had {a(t.full)}. {upper(p.he)} loved the {t.noun} very much.",
            f"{upper(p.his)} favorite thing was {a(t.full)}.",
            f"{p.name} got {a(t.full)} for {p.his} birthday.",
        )
        self.color(t)

    def color(self, t):
        self.fact("color", f"It was {t.color}.", f"What color was the {t.noun}?")

    def go(self, p, with_whom=None):
        place, _ = self.new_place(p)
        verb = self.rng.choice(["went to", "walked to", "ran to"])
        if with_whom is None:
            self.say(f"{p.name} {verb} {place}.", f"One day {p.name} {verb} {place}.",
                     f"Then {p.name} {verb} {place}.", f"{p.name} wanted to see {place}, so {p.he} "
                     f"{verb} {place}.")
        else:
            with_whom.place = p.place
            self.say(f"{p.name} and {with_whom.name} {verb} {place}.",
                     f"Together, {p.name} and {with_whom.name} {verb} {place}.")

    def find(self, p, t):
        t.holder = p
        where = self.new_spot()
        self.say(
            f"There {p.he} found {a(t.full)} {where}." if p.name in self.sentences[-1] and p.place
            else f"Then {p.name} found {a(t.full)} {where}.",
            f"{p.name} looked around and found {a(t.full)} {where}.",
            f"{p.name} saw {a(t.full)} {where}. {upper(p.he)} picked it up.",
            f"\"Look, {a(t.full)}!\" said {p.name}. It was {where}. {upper(p.he)} took it.",
        )
        self.fact("who", f"It was {p.name}.", f"Who found the {t.noun}?")
        self.fact("what", f"{upper(a(t.full))}.", f"What did {p.name} find?")
        self.fact("found", f"{upper(where)}.", f"Where did {p.name} find the {t.noun}?")
        self.color(t)

    def put(self, t):
        p = t.holder
        spot = self.new_spot()
        self.say(f"{p.name} put the {t.noun} {spot}.", f"Then {p.name} put the {t.noun} {spot}.",
                 f"{p.name} was careful and put the {t.noun} {spot}.",
                 f"{upper(p.he)} put the {t.noun} {spot}." if self.sentences[-1].startswith(p.name)
                 else f"After that, {p.name} put the {t.noun} {spot}.")
        t.holder, t.spot = None, spot

    def take(self, p, t):
        self.say(f"{p.name} took the {t.noun}.", f"Later {p.name} came and took the {t.noun}.",
                 f"{p.name} saw the {t.noun} {t.spot} and took it.")
        t.holder, t.spot = p, None

    def give(self, t, q):
        p = t.holder
        self.say(
            f"{p.name} gave the {t.noun} to {q.name}.",
            f"{p.name} gave {q.name} the {t.noun}.",
            f"\"You can have the {t.noun},\" said {p.name}. {q.name} took it.",
            f"\"May I have the {t.noun}?\" asked {q.name}. \"Yes, here you are,\" said {p.name} "
            f"and gave it to {q.him}.",
        )
        if self.chance(0.5):
            self.say(f"\"Thank you, {p.name}!\" said {q.name}.",
                     f"\"Thank you!\" said {q.name} with a smile.",
                     f"{q.name} smiled and said thank you.")
        self.fact("gave", f"It was {p.name}.", f"Who gave the {t.noun} to {q.name}?")
        self.fact("given", f"The {t.full}.", f"What did {p.name} give to {q.name}?")
        t.holder = q

    def lose(self, t):
        """It comes to lie somewhere, and the story says so."""
        p = t.holder
        spot = self.new_spot()
        self.say(f"But then {p.name} lost the {t.noun}. It fell down and lay {spot}.",
                 f"Oh no! The {t.noun} fell and lay {spot}, but {p.name} did not see it.")
        self.fact("who", f"It was {p.name}.", f"Who lost the {t.noun}?")
        t.holder, t.spot, t.was_lost = None, spot, True
        self.feel(p, self.rng.choice(["sad", "upset", "worried", "unhappy", "angry"]))
        if self.chance(0.5):
            self.say(f"\"Where is my {t.noun}?\" asked {p.name}.",
                     f"\"I can not find my {t.noun},\" said {p.name}.")

    def search(self, q, t, owner):
        self.say(f"{q.name} helped to look for the {t.noun}. {upper(q.he)} found it {t.spot}.",
                 f"{q.name} looked and looked. At last {q.he} found the {t.noun} {t.spot}.",
                 f"\"Do not cry,\" said {q.name}. {upper(q.he)} found the {t.noun} {t.spot}.")
        self.fact("who", f"It was {q.name}.", f"Who found the {t.noun}?")
        self.fact("found", f"{upper(t.spot)}.", f"Where did {q.name} find the {t.noun}?")
        t.holder, t.spot = q, None
        self.give(t, owner)
        self.feel(owner, self.rng.choice(["happy", "glad", "thankful", "relieved", "delighted"]))

    def feel(self, p, feeling):
        p.feeling = feeling
        self.say(f"{p.name} was {feeling}.", f"{p.name} felt {feeling}.",
                 f"This made {p.name} {feeling}.", f"Now {p.name} was very {feeling}.")

    def hungry(self, p):
        food = self.rng.choice([x for x in FOODS if x not in self.taken])
        self.taken.add(food)
        if self.chance(0.5):
            self.feel(p, "hungry")
        self.say(f"{p.name} ate {a(food)}. It was sweet.", f"{p.name} ate {a(food)} for lunch.",
                 f"\"I want {a(food)},\" said {p.name}. So {p.he} ate {a(food)}.",
                 f"{upper(p.his)} mother gave {p.him} {a(food)}, and {p.name} ate it.")
        self.fact("eat", f"{upper(a(food))}.", f"What did {p.name} eat?")

    def scare(self, p, q):
        scary = self.rng.choice([x for x in SCARY if x not in self.taken])
        self.taken.add(scary)
        self.say(f"Then {p.name} was scared of {scary}.",
                 f"{p.name} was afraid of {scary}. {upper(p.he)} wanted to hide.",
                 f"\"I am scared of {scary},\" said {p.name}.")
        self.fact("scared", f"It was {scary}.", f"What was {p.name} afraid of?",
                  f"What was {p.name} scared of?")
        p.feeling = "scared"
        if q is not None:
            self.say(f"{q.name} held {p.his} hand. \"Do not be afraid,\" said {q.name}.",
                     f"\"I am here with you,\" said {q.name}.",
                     f"\"We are safe,\" said {q.name} and hugged {p.him}.")
            self.fact("help", f"It was {q.name}.", f"Who helped {p.name}?")
            self.feel(p, self.rng.choice(["brave", "safe", "calm", "happy"]))

    def task(self, p, q):
        do, did = self.rng.choice([x for x in TASKS if x[0] not in self.taken])
        self.taken.add(do)
        self.say(f"{p.name} wanted to {do}.", f"\"I want to {do},\" said {p.name}.",
                 f"{p.name} had to {do}.")
        self.fact("want", f"To {do}.", f"What did {p.name} want to do?")
        if q is not None and self.chance(0.7):
            self.say(f"\"Can you help me?\" asked {p.name}. \"Yes, I can,\" said {q.name}.",
                     f"\"Let me help you,\" said {q.name}.", f"{q.name} came to help {p.him}.")
            self.fact("help", f"It was {q.name}.", f"Who helped {p.name}?")
            self.say(f"Together they {did}.", f"They {did} together.",
                     f"{p.name} and {q.name} {did}.")
            self.feel(self.rng.choice([p, q]),
                      self.rng.choice(["happy", "proud", "glad", "excited"]))
        else:
            self.say(f"{upper(p.he)} {did} all alone.", f"So {p.he} {did}.",
                     f"{upper(p.he)} worked hard and {did}.")
            self.feel(p, self.rng.choice(["proud", "tired", "happy", "exhausted"]))

    def count(self, p, q):
        noun = self.rng.choice([x for x in COUNTED if x not in self.taken])
        self.taken.add(noun)
        n = self.rng.randint(2, 9)
        self.say(f"{p.name} had {NUMBERS[n]} {noun}.", f"{p.name} picked up {NUMBERS[n]} {noun}.",
                 f"{p.name} found {NUMBERS[n]} {noun} and took them.")
        if self.chance(0.5):
            more = self.rng.randint(1, 9)
            giver = q.name if q is not None else upper(p.his) + " mother"
            self.say(f"{giver} gave {p.him} {NUMBERS[more]} more.",
                     f"Then {p.name} got {NUMBERS[more]} more from {giver[0].lower()}{giver[1:]}."
                     if q is None else f"Then {p.name} got {NUMBERS[more]} more from {giver}.")
            n += more
        elif n > 2:
            less = self.rng.randint(1, n - 1)
            if q is not None:
                self.say(f"{upper(p.he)} gave {NUMBERS[less]} of them to {q.name}.",
                         f"{p.name} gave {q.name} {NUMBERS[less]} of the {noun}.")
            else:
                self.say(f"But {p.he} lost {NUMBERS[less]} of them.",
                         f"{NUMBERS[less].capitalize()} of the {noun} fell into the water.")
            n -= less
        self.fact("count", f"There were {NUMBERS[n]}.",
                  f"How many {noun} did {p.name} have in the end?",
                  f"How many {noun} does {p.name} have now?")

    def play(self, p, q):
        game = self.rng.choice([g for g in GAMES if g not in self.taken])
        self.taken.add(game)
        self.say(f"{p.name} and {q.name} played {game}.",
                 f"\"Do you want to play?\" asked {p.name}. \"Yes!\" said {q.name}. They played "
                 f"{game}.",
                 f"They played {game} and laughed.",
                 f"\"Let us play {game},\" said {q.name}. {p.name} liked it.")
        self.fact("play", f"They played {game}.", "What did they play?")

    def chat(self, p, q):
        self.say(
            f"\"Hello, {q.name},\" said {p.name}. \"Hello, {p.name},\" said {q.name}.",
            f"\"I like you,\" said {p.name}. \"I like you too,\" said {q.name}.",
            f"\"You are my best friend,\" said {q.name} to {p.name}.",
            f"{p.name} told {q.name} a funny story and they laughed.",
            f"\"What a nice day!\" said {q.name}. {p.name} nodded.",
            f"\"Let us be friends,\" said {p.name}. \"Yes, let us be friends,\" said {q.name}.",
        )

    def scene(self, p):
        if self.chance(0.6):
            self.say(*SCENES)
        else:
            self.say(
                f"{p.name} sat down and looked at the sky.", f"{p.name} sang a little song.",
                f"{p.name} thought for a while.", f"\"What shall I do now?\" said {p.name}.",
                f"{p.name} jumped up and down.", f"{upper(p.he)} smiled to {p.him}self."
                if p.he == "he" else f"{p.name} smiled to herself.",
                f"{p.name} took a deep breath.", f"\"This is a special day,\" thought {p.name}.",
                f"{p.name} listened to the birds.", f"{p.name} was in a hurry.",
            )

    def end(self):
        p = self.people[0]
        names = p.name
        if len(self.people) > 1:
            names = f"{p.name} and {self.people[1].name}"
        were = "were" if len(self.people) > 1 else "was"
        they = "they" if len(self.people) > 1 else p.he
        if self.chance(0.75):
            self.say(
                f"At the end of the day {names} {were} very tired and went to sleep.",
                f"In the evening {they} went home.",
                f"{names} went home and had dinner.",
                f"It was a good day for {names}.",
                f"And from that day on, {names} {were} never alone.",
                f"In the end {they} laughed and {were} happy.",
            )
            last = self.sentences[-1]
            for someone in self.people:
                if "happy" in last or "tired" in last:
                    someone.feeling = "happy" if "happy" in last else "tired"
                if "home" in last:
                    someone.place = None
        if self.chance(0.15):
            lesson = self.rng.choice(LESSONS)
            self.say(f"{p.name} learned something that day: {lesson[0].lower()}{lesson[1:]}",
                     f"{p.name} never forgot it. {lesson}")
        if self.chance(0.35):
            self.sentences.append("The end.")

    # The state at the end, asked.

    def ask_state(self):
        for t in self.things:
            if t.holder is not None:
                self.fact("who has", f"The {t.noun} is with {t.holder.name}.",
                          f"Who has the {t.noun} now?", f"Who has the {t.noun}?")
                someone = self.rng.choice(self.people)
                self.fact("yes or no", "Yes." if someone is t.holder else "No.",
                          f"Does {someone.name} have the {t.noun}?")
            elif t.spot is not None:
                self.fact("where is", f"{upper(t.spot)}.", f"Where is the {t.noun}?",
                          f"Where is the {t.noun} now?", f"Where was the {t.noun} in the end?")
        for p in self.people:
            if p.place is not None:
                place, preposition = p.place
                self.fact("went", f"{upper(preposition)} {place}.", f"Where is {p.name}?",
                          f"Where was {p.name}?")
            if p.feeling is not None:
                self.fact("feel", f"In the end {p.name} felt {p.feeling}.",
                          f"How did {p.name} feel in the end?", f"How did {p.name} feel?")

    def questions(self):
        """[(kind, question, answer)], one wording each, in a fixed order."""
        found = []
        for kind, answer, wordings in self.facts.values():
            if answer is not None:
                found.append((kind, self.rng.choice(wordings), answer))
        return found

    def text(self):
        return " ".join(self.sentences)


def tell(rng):
    """One story with its questions made."""
    story = Story(rng)
    p = story.person()
    story.introduce(p, True)
    if story.chance(0.35):
        story.weather()
    q = None
    if story.chance(0.85):
        q = story.person()
    t = story.thing()
    theme = rng.choice(["lost", "found", "moved", "moved", "counted", "task", "scared", "trip"])
    if theme in ("lost", "moved") or story.chance(0.2):
        story.own(p, t)
    if story.chance(0.6) or theme in ("trip", "found"):
        story.go(p)
    if q is not None:
        story.introduce(q, False)
        if story.chance(0.3):
            story.chat(p, q)
    for _ in range(rng.randint(2, 5)):
        step(story, theme, p, q, t)
        if story.chance(0.2):
            story.scene(rng.choice(story.people))
    if story.chance(0.5):
        story.feel(rng.choice(story.people), rng.choice(LAST_FEELINGS))
    story.end()
    story.ask_state()
    return story


def step(story, theme, p, q, t):
    rng = story.rng
    someone = rng.choice(story.people)
    other = None if q is None else (q if someone is p else p)
    choice = theme if story.chance(0.6) else rng.choice(
        ["counted", "task", "scared", "trip", "moved", "eat", "play", "chat"])
    if choice == "lost" and t.holder is not None and other is not None and not t.was_lost:
        owner = t.holder
        story.lose(t)
        story.search(q if owner is p else p, t, owner)
    elif choice in ("found", "moved", "lost"):
        if t.holder is None and t.spot is None:
            story.find(someone, t)
        elif t.holder is None:
            story.take(someone, t)
        elif other is not None and story.chance(0.5):
            story.give(t, q if t.holder is p else p)
        else:
            story.put(t)
    elif choice == "counted":
        story.count(someone, other)
    elif choice == "task":
        story.task(someone, other)
    elif choice == "scared":
        story.scare(someone, other)
    elif choice == "trip":
        if other is not None and story.chance(0.4):
            story.go(someone, other)
        else:
            story.go(someone)
    elif choice == "play" and other is not None:
        story.play(someone, other)
    elif choice == "chat" and other is not None:
        story.chat(someone, other)
    else:
        story.hungry(someone)
