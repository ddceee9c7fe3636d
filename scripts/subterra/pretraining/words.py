"""Values nobody has seen before: pronounceable words, names, dates, amounts, codes, groups, addresses.

All come from rules and short lists written here; every maker takes the dialogue's random source.
"""

import random
import re
import string
from collections import Counter
from functools import cache
from pathlib import Path

import yaml


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ONSETS = _words(
    "b b bl br c ch cl cr d d dr f fl fr g gl gr h j k kr l l m m n n p p pl pr qu r r s s sh sk sl sp st t t "
    "th tr v w z "
)
VOWELS = _words("a e i o u a e i o u a e i o a e i o ai ea ee ia io oa oo ou")
CODAS = _words("b ck d f g k l ld ll lm m n nd ng nk nt p r rd rk rn rt s sk ss st t t th x z")
ENDINGS = _words("a o i e en er on an el is us ia ax or um ine ette ard ell")
PLACE_ENDINGS = _words("ford ham by ton dale mouth stead wick haven port field burg more ness")
FIRST_NAMES = _words(
    "Ada Adil Agnes Amir Anja Arno Beata Bela Bruno Carla Cato Chidi Clara Dario Delia Edda Emil Enzo Esther "
    "Farid Femke Fiona Gita Greta Hadi Hanna Henk Ida Igor Ines Ivo Jana Jonas Juna Kaito Karim Kemal Lara "
    "Leif Lena Lotte Luca Magda Malik Mara Marta Milo Nadia Nils Nora Olga Omar Otto Paula Pavel Petra Priya "
    "Rafael Rosa Ruben Sami Selma Silas Sven Tariq Tessa Tomas Ulla Uma Vera Viktor Wanda Yara Yusuf Zoe Zoran "
    "Basil Doris Edwin Flora Gloria Hector Irma Jasper "
)
# Words of real cities: a pseudo-word never is one, so that a procedure's own values stay unseen.
CITIES = frozenset(
    _words(
        "accra agra algiers amman ankara athens auckland austin baku bali bangkok bari basel beirut bergen berlin "
        "bern bilbao bogota bonn boston brest bristol budapest buenos cairo cali calgary cape cebu chicago cologne "
        "copenhagen corfu cork crete cusco dakar dallas delhi denver detroit doha dubai dublin durban edinburgh "
        "essen geneva genoa ghent girona goa hanoi hamburg havana helsinki honolulu houston istanbul izmir jakarta "
        "kiel kobe krakow kyoto lagos lahore leeds lima lisbon london lyon macau madrid malaga malmo malta manila "
        "marrakesh medina memphis mexico miami milan minsk monaco montreal moscow mumbai munich nairobi nantes "
        "naples new nice orleans osaka oslo oxford padua paris perth pisa porto prague quito reno reykjavik riga "
        "rome salem santiago sardinia seattle seoul seville siena singapore sofia split sydney taipei tokyo "
        "toronto tunis turin valencia vancouver venice verona vienna warsaw york zagreb zanzibar zurich "
    )
)
MONTHS = _words("January February March April May June July August September October November December")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBERS = _words("two three four five six seven eight nine ten eleven twelve")
COLOURS = _words("red blue green black white grey silver brown orange purple yellow beige crimson turquoise")
UNITS = ("dollars", "dollars", "euros", "pounds", "francs", "credits")


def pseudo_word(rng: random.Random, syllables: int | None = None) -> str:
    """Return a lower-case word that no dictionary has (or only by chance)."""
    while True:
        count = syllables or rng.choice((1, 2, 2, 2, 3, 3))
        word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(count))
        word += rng.choice(CODAS) if rng.random() < 0.6 else rng.choice(ONSETS) + rng.choice(ENDINGS)
        if word not in CITIES:
            return word


def place(rng: random.Random) -> str:
    """Return the name of a town."""
    kind = rng.random()
    if kind < 0.5:
        return pseudo_word(rng).capitalize()
    if kind < 0.7:
        return (pseudo_word(rng, 1) + rng.choice(PLACE_ENDINGS)).capitalize()
    first = rng.choice(
        ("Port", "Saint", "Upper", "Lower", "Old", "Mount", "Lake", "El", "San", "Great", "North", "Bad")
    )
    return f"{first} {pseudo_word(rng).capitalize()}" + (f" {pseudo_word(rng).capitalize()}" if kind > 0.95 else "")


def brand(rng: random.Random) -> str:
    """Return the name of a firm or a product."""
    word = pseudo_word(rng).capitalize()
    return rng.choice(
        (word, word, f"{word} {pseudo_word(rng, 1).capitalize()}", f"{word} and {rng.choice(FIRST_NAMES)}")
    )


def surname(rng: random.Random) -> str:
    """Return a family name."""
    return pseudo_word(rng, rng.choice((1, 2))).capitalize()


def person(rng: random.Random) -> str:
    """Return a first name with a family name, rarely with an initial."""
    first = rng.choice(FIRST_NAMES) if rng.random() < 0.6 else pseudo_word(rng).capitalize()
    middle = f" {rng.choice(string.ascii_uppercase)}." if rng.random() < 0.1 else ""
    return f"{first}{middle} {surname(rng)}"


def date(rng: random.Random) -> str:
    """Return a date in one of several forms."""
    day, month = rng.randint(1, 28), rng.choice(MONTHS)
    form = rng.random()
    if form < 0.5:
        return f"{day} {month}"
    if form < 0.65:
        return f"{month} {day}"
    if form < 0.75:
        return f"{rng.choice(DAYS)}, {day} {month}"
    if form < 0.85:
        return f"{day:02}/{rng.randint(1, 12):02}/20{rng.randint(20, 39)}"
    return (
        f"{rng.choice(('next', 'this coming'))} {rng.choice(DAYS)}"
        if form < 0.9
        else f"{day} {month} 20{rng.randint(20, 39)}"
    )


def time(rng: random.Random) -> str:
    """Return a time of day."""
    hour, minute = rng.randint(1, 12), rng.choice(("00", "15", "30", "45", "10", "20", "50"))
    forms = (
        f"{hour}:{minute}",
        f"{hour}:{minute} pm",
        f"{hour} o'clock",
        f"half past {rng.choice(NUMBERS)}",
        f"{hour} am",
    )
    return rng.choice(forms)


def amount(rng: random.Random) -> str:
    """Return a sum without its unit, of two to five digits."""
    digits = rng.choice((2, 3, 3, 3, 4, 4, 4, 5))
    number = rng.randint(10 ** (digits - 1), 10**digits - 1)
    number -= number % rng.choice((1, 1, 5, 10, 50)) if digits > 2 else 0
    return f"{number:,}" if rng.random() < 0.15 else str(number)


def code(rng: random.Random) -> str:
    """Return a number of a customer, order, policy or device."""
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    few = string.digits if rng.random() < 0.7 else rng.sample(string.digits, 2)  # so that digits repeat
    digits = "".join(rng.choices(few, k=rng.randint(3, 6)))
    tail = "".join(rng.choices(string.ascii_uppercase + string.digits, k=2))
    return rng.choice(
        (letters + digits, f"{letters}-{digits}", digits, f"{digits}-{tail}", f"{letters}{tail}-{digits}", digits)
    )


def party(rng: random.Random) -> str:
    """Return a group of people."""
    number = rng.choice(NUMBERS[4:] if rng.random() < 0.6 else NUMBERS[:3])
    people = rng.choice(("colleagues", "cousins", "students", "seniors", "children", "neighbours", "players", "guests"))
    group = rng.choice(("team", "club", "crew", "class", "household", "band", "choir", "circle"))
    two = rng.choice(
        ("a mother and her son", "a father and two girls", "my aunt and me", "an elderly couple", "just me")
    )
    return rng.choice((f"{number} {people}", f"a {group} of {number}", f"a {group} of {number} {people}", two))


def address(rng: random.Random) -> str:
    """Return a street with a number."""
    street = rng.choice(("Street", "Lane", "Road", "Square", "Alley", "Row", "Hill"))
    return f"{rng.randint(1, 199)} {pseudo_word(rng).capitalize()} {street}"


def phone(rng: random.Random) -> str:
    """Return a telephone number."""
    parts = [str(rng.randint(100, 999)), str(rng.randint(100, 9999))]
    return rng.choice(("-", " ")).join(["0" + str(rng.randint(10, 99)), *parts][rng.randint(0, 1) :])


def mail(rng: random.Random) -> str:
    """Return a mail address."""
    ending = rng.choice(("com", "org", "net"))
    return f"{rng.choice(FIRST_NAMES).lower()}.{surname(rng).lower()}@{pseudo_word(rng)}.{ending}"


def duration(rng: random.Random) -> str:
    """Return a length of time."""
    unit = rng.choice(("days", "weeks", "months", "hours", "nights", "years"))
    return f"{rng.choice(NUMBERS) if rng.random() < 0.6 else rng.randint(2, 48)} {unit}"


def quantity(rng: random.Random) -> str:
    """Return a number of pieces."""
    return rng.choice(NUMBERS) if rng.random() < 0.4 else str(rng.randint(2, 90))


def size(rng: random.Random) -> str:
    """Return a measure."""
    unit = rng.choice(("cm", "metres", "kilos", "litres", "square metres", "inches"))
    return (
        f"{rng.randint(2, 400)} {unit}"
        if rng.random() < 0.7
        else f"{rng.randint(10, 99)} by {rng.randint(10, 99)} {unit}"
    )


def colour(rng: random.Random) -> str:
    """Return a colour."""
    return rng.choice(COLOURS) if rng.random() < 0.7 else f"{pseudo_word(rng)} {rng.choice(COLOURS[:8])}"


def product(rng: random.Random) -> str:
    """Return a model of a device or a vehicle."""
    return rng.choice(
        (f"{brand(rng)} {rng.randint(2, 990)}", brand(rng), f"{pseudo_word(rng).capitalize()} {code(rng)}")
    )


@cache
def concepts() -> list[tuple[str, list[str]]]:
    """Return groups of everyday words that belong together: (what they share, the words)."""
    sections = yaml.safe_load(Path(__file__).with_name("concepts.yaml").read_text(encoding="utf-8"))
    return [group for groups in sections.values() for group in groups.items()]


@cache
def everyday() -> tuple[str, ...]:
    """Return the single words among them."""
    return tuple(sorted({word for _, members in concepts() for word in members if word.isalpha() and len(word) > 2}))


@cache
def common() -> tuple[str, ...]:
    """Return the small words of the phrasings that stand there at least five times.

    A tokenizer that learns from the corpus takes most of them whole. What starts with a token of its own has to be
    repeated as well as what is spelled, and of the everyday words only one in seven does.
    """
    here = Path(__file__).parent
    files = (*sorted(here.glob("*.grammar")), here / "topics.yaml")
    found = Counter(word for file in files for word in re.findall(r"\b[a-z]{3,}\b", file.read_text(encoding="utf-8")))
    return tuple(sorted(word for word, times in found.items() if times >= 5))


def known_word(rng: random.Random) -> str:
    """Return a word to stand in a value: an everyday or a common one."""
    return rng.choice(everyday() if rng.random() < 0.5 else common())


def thing(rng: random.Random) -> str:
    """Return a thing, an event or somebody in one to three known words, in a combination that is hardly one."""
    kind = rng.random()
    if kind < 0.12:
        return f"{pseudo_word(rng).capitalize()} {known_word(rng)}"
    if kind < 0.2:
        return f"{pseudo_word(rng)} {known_word(rng)}"
    found = " ".join(known_word(rng) for _ in range(rng.choice((1, 2, 2, 2, 2, 3))))
    return rng.choice(("", "", "a ", "the ", "the ", "my ")) + found


def title(rng: random.Random) -> str:
    """Return a name of two or three invented words, or of an adjective and one."""
    adjective = rng.choice(
        ("Golden", "Silent", "Little", "Blue", "Wild", "Northern", "Broken", "Second", "Hidden", "Royal")
    )
    words = [pseudo_word(rng).capitalize() for _ in range(rng.choice((1, 1, 2)))]
    return " ".join([adjective, *words] if rng.random() < 0.5 else [*words, pseudo_word(rng).capitalize()])


MAKERS = {
    "place": place, "brand": brand, "person": person, "date": date, "time": time, "amount": amount, "code": code,
    "party": party, "address": address, "phone": phone, "mail": mail, "duration": duration, "quantity": quantity,
    "size": size, "colour": colour, "product": product, "title": title,
    "thing": thing,
}  # fmt: skip
