"""Nine kinds of sentences: random numbers in, the same meaning in four languages out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from backends.nano.train.common import SEED, held_out
from backends.nano.train.translate.lexicon import Words, grammar, lexicon
from backends.nano.train.translate.phrases import NOTHING, NounPhrase, Pronoun, Subject, conjugated, sentence

DESCRIBES_THING = ["big", "small", "heavy", "expensive", "new"]


def noun_phrase(
    r: Random,
    kinds: Sequence[str],
    determiners: Sequence[str] = ("the", "the", "a", "my"),
    adjective_share: float = 0.35,
    plural_share: float = 0.25,
    numbers: bool = False,
) -> NounPhrase:
    """A noun of `kinds` with a determiner that suits it; `numbers` lets half of the plurals be counted."""
    noun = r.choice(lexicon().nouns_of(kinds))
    plural = noun.counted and r.random() < plural_share
    number = r.randint(2, 20) if numbers and plural and r.random() < 0.5 else None
    determiner = r.choice([d for d in determiners if d != "a" or (noun.counted and not plural)])
    adjective = None
    if r.random() < adjective_share:
        suited = {
            "animal": ["black", "white", "grey", "big", "small"],
            "food": ["red", "green", "yellow", "big", "small"],
            "thing": [*lexicon().colours, *DESCRIBES_THING],
        }.get(noun.kind)
        adjective = r.choice(suited) if suited else None
    return NounPhrase(noun, plural, determiner, adjective, number)


def some_subject(r: Random, animals: bool = False, question: bool = False) -> Subject:
    """A pronoun or somebody; one asks about everybody but oneself."""
    if r.random() < 0.4:
        asked = ["you", "you", "he", "she", "they"]
        return Pronoun(r.choice(asked if question else [pronoun[0] for pronoun in lexicon().pronouns]))
    kinds = ["person", "person", "animal"] if animals else ["person"]
    return noun_phrase(r, kinds, ("the", "the", "my"), adjective_share=0.15, plural_share=0.2)


def transitive(r: Random) -> Words | None:
    """Somebody does something to something; None where they would be the same."""
    name = r.choice([name for name, verb in lexicon().verbs.items() if verb.objects])
    verb = lexicon().verbs[name]
    mode = r.choice(["statement", "statement", "statement", "at a time", "negation", "question"])
    subject = some_subject(r, verb.animals, question=mode == "question")
    negated = mode == "negation"
    thing = noun_phrase(r, verb.objects, ("the", "my") if negated else ("the", "a", "my"), numbers=not negated)
    if isinstance(subject, NounPhrase) and thing.noun is subject.noun:
        return None
    time = r.choice(lexicon().times) if mode == "at a time" else NOTHING
    pattern = grammar().transitive["statement" if mode == "at a time" else mode]
    # Spanish tener takes no personal a.
    o = thing.words(accusative=True, personal=name != "have")
    return sentence(pattern, s=subject.words(), o=o, t=time, **conjugated(name, subject))


def intransitive(r: Random) -> Words:
    """Somebody does something somewhere at some time."""
    living = r.random() < 0.15
    doings = ["work", "sleep", "sing", "dance", "play", "cook", "run"]
    name = "live" if living else r.choice(doings)
    mode = r.choice(["statement", "statement", "negation", "question"])
    subject = some_subject(r, lexicon().verbs[name].animals, question=mode == "question")
    place = NOTHING
    if living:
        place = r.choice(lexicon().cities)
    elif r.random() < 0.6:
        place = r.choice([*lexicon().places, *lexicon().cities[:4]])
    time = r.choice(lexicon().times) if not living and r.random() < 0.5 else NOTHING
    pattern = grammar().intransitive[mode]
    return sentence(pattern, s=subject.words(), p=place, t=time, **conjugated(name, subject))


def predicate(r: Random) -> Words:
    """Somebody or something is, is not, or is it, like this."""
    about, mode = r.random(), r.choice(["statement", "statement", "negation", "question"])
    subject: Subject
    if about < 0.4:
        if mode != "question" and r.random() < 0.35:
            subject = Pronoun(r.choice(["he", "she", "they"]))
        else:
            subject = noun_phrase(r, ["person"], ("the", "my"), 0)
        quality = r.choice(["tired", "sad", "happy", "sick", "rich", "young"])
    elif about < 0.8:
        subject = noun_phrase(r, ["thing"], ("the", "my"), 0)
        quality = r.choice([*lexicon().colours, *DESCRIBES_THING, "clean"])
    else:
        subject = noun_phrase(r, ["food", "mass", "drink"], ("the", "my"), 0)
        quality = r.choice(["hot", "cold", "good", "expensive"])
    intensifier = lexicon().very if r.random() < 0.3 and quality not in lexicon().colours else NOTHING
    adjective = lexicon().adjectives[quality]
    a = (quality, adjective.es[subject.agreement("es")], adjective.fr[subject.agreement("fr")], adjective.de)
    return sentence(grammar().predicate[mode], s=subject.words(), v=being(subject, adjective.estar), w=intensifier, a=a)


def being(subject: Subject, estar: bool) -> Words:
    """The finite forms of "to be", in Spanish of ser or estar."""
    en, es, fr, de = lexicon().verbs["be"].present(subject.person)
    return en, lexicon().estar[subject.person] if estar else es, fr, de


def question(r: Random) -> Words:
    """Where, how much, what, when, who, how many."""
    x, ask = r.random(), grammar().ask
    if x < 0.3:
        thing = noun_phrase(r, ["person", "animal", "thing", "thing", "food", "mass"], ("the", "my"), 0.3, 0.3)
        return sentence(ask["where_is"], s=thing.words(), v=being(thing, estar=True))
    if x < 0.5:
        thing = noun_phrase(r, ["thing", "thing", "food", "mass"], ("the",), 0.4, 0.3)
        return sentence(ask["price"], s=thing.words(), **conjugated("cost", thing))
    if x < 0.65:
        name = r.choice(["eat", "drink", "buy", "see", "look for", "find", "sell", "read"])
        subject = some_subject(r, question=True)
        return sentence(ask["what"], s=subject.words(), **conjugated(name, subject))
    if x < 0.8:
        name = r.choice(["work", "sleep", "sing", "dance", "play", "cook", "run"])
        subject = some_subject(r, question=True)
        return sentence(ask[r.choice(["where", "when"])], s=subject.words(), **conjugated(name, subject))
    if x < 0.92:
        name = r.choice(["eat", "drink", "buy", "see", "have", "look for", "sell", "read", "open", "close"])
        thing = noun_phrase(r, lexicon().verbs[name].objects, ("the", "my"), 0.3)
        o = thing.words(accusative=True, personal=name != "have")
        return sentence(ask["who"], o=o, **conjugated(name, Pronoun("he")))
    noun = r.choice(lexicon().nouns_of(["animal", "food", "thing"]))
    subject = some_subject(r, question=True)
    plurals = noun.en[1], noun.es[1], noun.fr[1], noun.de[1]
    return sentence(ask[f"how_many_{noun.es_gender}"], s=subject.words(), o=plurals, **conjugated("have", subject))


def command(r: Random) -> Words:
    """Do, please do, do not."""
    imperatives = {name: verb.imperative for name, verb in lexicon().verbs.items() if verb.imperative}
    name = r.choice(list(imperatives))
    mode = r.choice(["order", "request", "negation"])
    imperative, negated = imperatives[name], mode == "negation"
    determiners = ("the", "my") if negated else ("the", "the", "my", "a")
    thing = noun_phrase(r, lexicon().verbs[name].objects, determiners, 0.35, 0.2)
    spanish = imperative.es_negative if negated else imperative.es
    return sentence(
        grammar().command[mode],
        imp=(name, spanish, imperative.fr, imperative.de),
        o=thing.words(accusative=True, personal=True),
    )


def weather(r: Random) -> Words:
    """It is, is not, or is it, raining here or now."""
    sky = r.choice(lexicon().weather)
    negated = r.random() < 0.35
    when = r.choice([*lexicon().times[:2], *lexicon().cities, *lexicon().cities, *lexicon().places[3:5]])
    shape = "anywhere" if r.random() < 0.12 else "question" if r.random() < 0.2 else "somewhere"
    if shape == "question":
        negated = False
    return sentence(
        grammar().weather[shape],
        w=(sky.en, sky.es, sky.fr_negative if negated else sky.fr, sky.de_predicate),
        v=("", "", "", sky.de),
        t=when,
        **{"not": ("not", "no", "", "nicht") if negated else NOTHING},
    )


def number(r: Random) -> Words:
    """Sums, the time, ages, and how many there are."""
    x, patterns, numbers, verbs = r.random(), grammar().number, lexicon().numbers, lexicon().verbs
    if x < 0.3:
        a, b = r.randint(1, 10), r.randint(1, 10)
        return sentence(patterns["sum"], a=numbers[a - 1], b=numbers[b - 1], c=numbers[a + b - 1])
    if x < 0.4:
        hour = r.randint(1, 12)
        return sentence(patterns["one_o_clock" if hour == 1 else "o_clock"], a=numbers[hour - 1])
    if x < 0.68:
        subject: Subject
        if x < 0.6:
            subject, years = some_subject(r, animals=True), r.randint(2, 20)
            if isinstance(subject, NounPhrase):
                subject = NounPhrase(subject.noun, subject.plural, subject.determiner)
        else:
            subject, years = noun_phrase(r, ["person"], ("the", "my"), 0, 0.2), 1
        be, have = verbs["be"].present(subject.person), verbs["have"].present(subject.person)
        pattern = patterns["age" if x < 0.6 else "how_old"]
        return sentence(pattern, s=subject.words(), be=be, have=have, a=numbers[years - 1])
    count, place = r.randint(1, 20), r.choice([*lexicon().places, *lexicon().cities[:3]])
    drawn = noun_phrase(r, ["animal", "thing", "person"], ("a",), 0.3, 0)
    thing = NounPhrase(drawn.noun, count > 1, "a", drawn.adjective, count if count > 1 else None)
    be = verbs["be"].present(thing.person)
    return sentence(patterns["there"], be=be, o=thing.words(accusative=True), p=place)


def day(r: Random) -> Words:
    """Days of the week, and who speaks which language."""
    date, x = r.choice(lexicon().days), r.random()
    if x < 0.3:
        return sentence(grammar().day[r.choice(["today", "tomorrow", "yesterday"])], t=date)
    if x < 0.4:
        return sentence(grammar().day["is_today"], t=date)
    subject, language = some_subject(r), r.choice(lexicon().languages)
    if r.random() < 0.3:
        subject, mode = Pronoun("you"), "question"
    else:
        mode = "negation" if r.random() < 0.4 else "statement"
    return sentence(grammar().speech[mode], s=subject.words(), l=language, **conjugated("speak", subject))


def greeting(r: Random) -> Words:
    """Fixed phrases, names, and greetings by name."""
    x, name = r.random(), r.choice(lexicon().names)
    if x < 0.4:
        return r.choice(lexicon().fixed)
    en, es, fr, de = lexicon().introduction if x < 0.55 else r.choice(lexicon().calls)
    return en.format(n=name), es.format(n=name), fr.format(n=name), de.format(n=name)


KINDS: Mapping[str, tuple[int, Callable[[Random], Words | None]]] = {
    "transitive": (32, transitive),
    "intransitive": (12, intransitive),
    "predicate": (12, predicate),
    "question": (12, question),
    "command": (10, command),
    "weather": (5, weather),
    "number": (10, number),
    "day": (4, day),
    "greeting": (5, greeting),
}
"""Weight and generator of every kind of sentence."""


def is_held_out(meaning: Words) -> bool:
    """Whether none of the four sentences is ever trained on: one meaning in fifteen, by its English."""
    return meaning not in lexicon().fixed and held_out(meaning[0], 15)


def sample(r: Random, test: bool) -> tuple[str, Words]:
    """(kind, meaning) from the held-out side when `test`, else from the training side."""
    while True:
        kind = r.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        meaning = KINDS[kind][1](r)
        if meaning and is_held_out(meaning) == test:
            return kind, meaning


def evaluation_set(size: int) -> list[tuple[str, Words]]:
    """`size` different held-out (kind, meaning), always the same; a smaller set is the beginning of a larger one."""
    r, chosen = Random(SEED + 999), dict[Words, str]()
    while len(chosen) < size:
        kind, meaning = sample(r, True)
        chosen.setdefault(meaning, kind)
    return [(kind, meaning) for meaning, kind in chosen.items()]
