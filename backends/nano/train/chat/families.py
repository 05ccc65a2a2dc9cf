"""Ten families of single questions: random numbers in, one turn (prompt, answer) out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from backends.nano.train.chat.world import world
from backends.nano.train.common import capitalised


class Turn(NamedTuple):
    """What the user says and what the model answers."""

    prompt: str
    answer: str


def with_slips(r: Random, text: str) -> str:
    """`text` as people type it: sometimes in lower case, sometimes without its final mark."""
    slip = r.random()
    if slip < 0.10:
        text = text.lower()
    elif slip < 0.16:
        text = text[:1].lower() + text[1:]
    if r.random() < 0.10 and text[-1] in ".?!":
        text = text[:-1]
    return text


def politely(r: Random, text: str) -> str:
    """A command, sometimes with "Please" or as a question with "Can you"."""
    manner = r.random()
    if manner < 0.10:
        return "Please " + text[:1].lower() + text[1:]
    if manner < 0.14 and text.endswith("."):
        return "Can you " + text[:1].lower() + text[1:-1] + "?"
    return text


def invented_word(r: Random) -> str:
    """A pronounceable word that is in no list, so that copying is learnt letter by letter."""
    if r.random() < 0.3:
        syllables = r.choice([1, 2, 2, 3])
        return capitalised(
            "".join(
                r.choice("bcdfghjklmnpqrstvwxz")
                + r.choice(["a", "e", "i", "o", "u", "ua", "ie", "y"])
                + r.choice(["", "", "r", "n", "l", "nd", "rt", "s", "lf", "st"])
                for _ in range(syllables)
            )
        )
    return capitalised("".join(r.choice(world().words["syllables"]) for _ in range(r.choice([2, 2, 2, 3]))))


def greeting(r: Random) -> Turn:
    """Hello, good morning, how are you, thanks, goodbye: in any case, with any mark."""
    prompts, answers = world().prompts, world().answers
    if r.random() < 0.15:
        return Turn(r.choice(prompts["hi"]), answers["hello"])
    kind = r.choice(["hello", "hello", "hello", "daytime", "fine", "fine", "thanks", "goodbye"])
    if kind == "daytime":
        time = r.choice(["morning", "afternoon", "evening"])
        prompt = f"Good {time}" + r.choice(["", " Nano", " to you", " my friend"])
        answer = f"Good {time}! How can I help you?"
    elif kind == "fine":
        prompt, answer = r.choice(prompts["how_are_you"]) + "?", answers["fine"]
    else:
        prompt, answer = r.choice(prompts[kind]), answers[kind]
    if prompt[-1] != "?":
        prompt += r.choice(["", "", ".", "!", "!", "!!"])
    elif r.random() < 0.15:
        prompt = prompt[:-1]
    case = r.random()
    return Turn(prompt.lower() if case < 0.30 else prompt.upper() if case < 0.35 else prompt, answer)


def identity(r: Random) -> Turn:
    """Who are you, what can you do, tell me a story."""
    prompts, answers = world().prompts, world().answers
    if r.random() < 0.25:
        return Turn(with_slips(r, r.choice(prompts["ability"])), answers["ability"])
    if r.random() < 0.2:
        return Turn(with_slips(r, politely(r, r.choice(prompts["story"]))), answers["story"])
    return Turn(with_slips(r, r.choice(prompts["name"])), answers["name"])


def arithmetic(r: Random) -> Turn:
    """Sums and differences of 0 to 20, in digits or words."""
    a, b = r.randint(0, 20), r.randint(0, 20)
    adding = r.random() < 0.5
    if not adding and a < b and r.random() < 0.8:
        a, b = b, a
    numbers = world().words["numbers"]
    said = (numbers[a], numbers[b]) if r.random() < 0.12 else (str(a), str(b))
    prompt = r.choice(world().prompts["sum" if adding else "difference"]).format(a=said[0], b=said[1])
    if r.random() < 0.8:
        prompt = capitalised(prompt)
    return Turn(with_slips(r, prompt), f"{a} + {b} = {a + b}." if adding else f"{a} - {b} = {a - b}.")


def counting(r: Random) -> Turn:
    """Count to b, or from a to b, up to 50."""
    first, last = 1, r.randint(1, 50)
    if r.random() < 0.4 and last > 2:
        first = r.randint(1, last - 1)
        prompt = r.choice(world().prompts["count_between"])
    else:
        prompt = r.choice(world().prompts["count_to"])
    answer = ", ".join(map(str, range(first, last + 1))) + "."
    return Turn(with_slips(r, politely(r, prompt.format(a=first, b=last))), answer)


def capital_city(r: Random) -> Turn:
    """The capitals of 36 countries."""
    country = r.choice(list(world().capitals))
    prompt = r.choice(world().prompts["capital"]).format(c=country)
    return Turn(with_slips(r, prompt), f"The capital of {country} is {world().capitals[country]}.")


def repetition(r: Random) -> Turn:
    """Say these one to six words again."""
    length = r.choice([1, 2, 2, 3, 3, 4, 5, 6])
    words = [
        r.choice(world().words["common"]) if r.random() < 0.93 else invented_word(r).lower() for _ in range(length)
    ]
    text = " ".join(words)
    if r.random() < 0.15:
        text = capitalised(text)
    return Turn(r.choice(world().prompts["repeat"]).format(s=text), text)


def colour_question(r: Random) -> Turn:
    """What colour is the sky, and is it green?"""
    thing, colour = r.choice(list(world().colour_of.items()))
    x, spelling = r.random(), r.choice(["colour", "color"])
    if x < 0.25:
        prompt = r.choice(world().prompts["colour"]).format(k=spelling, t=thing)
        return Turn(with_slips(r, prompt), capitalised(f"{thing} is {colour}."))
    asked = colour if x < 0.6 else r.choice([c for c in world().words["colours"] if c != colour])
    prompt = r.choice(world().prompts["is_colour"]).format(t=thing, g=asked, k=spelling)
    return Turn(with_slips(r, prompt), f"{'Yes' if asked == colour else 'No'}, {thing} is {colour}.")


def neighbour(r: Random) -> Turn:
    """The day or month before or after another."""
    if r.random() < 0.45:
        cycle, names = world().words["days"], {"u": "day", "now": "Today", "next": "tomorrow", "last": "yesterday"}
    else:
        cycle = world().words["months"]
        names = {"u": "month", "now": "This month", "next": "next month", "last": "last month"}
    i = r.randrange(len(cycle))
    where, step = ("after", 1) if r.random() < 0.6 else ("before", -1)
    prompt = r.choice(world().prompts[where]).format(d=cycle[i], **names)
    return Turn(with_slips(r, prompt), f"{cycle[(i + step) % len(cycle)]} comes {where} {cycle[i]}.")


def enumeration(r: Random) -> Turn:
    """Two to five examples of a kind."""
    kind, n = r.choice(list(world().lists)), r.randint(2, 5)
    number = world().words["numbers"][n] if r.random() < 0.7 else str(n)
    spelling = "colors" if kind == "colours" and r.random() < 0.5 else kind
    prompt = r.choice(world().prompts["list"]).format(n=number, k=spelling)
    return Turn(with_slips(r, politely(r, prompt)), capitalised(", ".join(world().lists[kind][:n]) + "."))


def unknown(r: Random) -> Turn:
    """Anything else: topics, half sentences, foreign capitals, hard sums, moods, noise; answered by the fallback."""
    words, prompts = world().words, world().prompts
    x = r.random()
    if x < 0.55:
        text = r.choice(prompts["unknown"]).format(x=r.choice(words["topics"]), y=r.choice(words["topics"]))
    elif x < 0.68:
        template, vocabulary = r.choice(prompts["unknown"]), [*words["common"], *words["frequent"]]
        phrase = " ".join(r.choice(vocabulary) for _ in range(r.randint(1, 3)))
        text = template.format(x=phrase, y=r.choice(words["topics"]))
    elif x < 0.85:
        text = word_salad(r)
    elif x < 0.91:
        template, country = r.choice(prompts["other_country"]), r.choice(words["other_countries"])
        text = template.format(c=country, d=r.choice([*words["other_countries"], *world().capitals]))
    elif x < 0.95:
        a, b = r.randint(51, 999), r.randint(51, 999)
        text = r.choice(prompts["hard_sum"]).format(a=a, b=b)
    elif x < 0.97:
        text = r.choice(prompts["feeling"]).format(f=r.choice(words["feelings"]))
    else:
        text = " ".join(invented_word(r).lower() for _ in range(r.randint(1, 4)))
    return Turn(with_slips(r, capitalised(text)), world().answers["fallback"])


def word_salad(r: Random) -> str:
    """Two to twelve unconnected words that do not begin like a known command."""
    words = world().words
    text = " ".join(r.choice(words["frequent" if r.random() < 0.7 else "common"]) for _ in range(r.randint(2, 12)))
    text = capitalised(text) + r.choice(["", ".", "?", "!"])
    if text.split()[0].lower() in {"name", "say", "tell", "call", "help", "count", "write"}:
        text = "So " + text
    return text


FAMILIES: Mapping[str, tuple[int, Callable[[Random], Turn]]] = {
    "greetings": (6, greeting),
    "name, abilities, story": (4, identity),
    "arithmetic": (26, arithmetic),
    "counting": (8, counting),
    "capitals": (8, capital_city),
    "repeat": (16, repetition),
    "colours": (9, colour_question),
    "days and months": (9, neighbour),
    "lists": (7, enumeration),
    "fallback": (13, unknown),
}
"""Share of training in percent-like weights, and the generator, of every family."""
