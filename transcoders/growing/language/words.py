"""The rest of the language of `sprout`: places on the map, opposites in three languages, people."""

from typing import Literal, NamedTuple

Language = Literal["english", "french", "german"]

COUNTRIES: dict[str, tuple[str, ...]] = {
    "france": ("paris", "lyon", "nice", "marseille"),
    "germany": ("berlin", "hamburg", "munich", "cologne"),
    "italy": ("rome", "milan", "naples", "venice"),
    "spain": ("madrid", "seville", "valencia", "malaga"),
    "portugal": ("lisbon", "porto", "faro"),
    "austria": ("vienna", "salzburg", "graz"),
    "poland": ("warsaw", "krakow", "lodz"),
    "greece": ("athens", "patras", "corinth"),
    "turkey": ("ankara", "izmir", "antalya"),
    "egypt": ("cairo", "luxor", "giza"),
    "kenya": ("nairobi", "mombasa", "kisumu"),
    "india": ("delhi", "mumbai", "chennai", "pune"),
    "china": ("beijing", "shanghai", "wuhan"),
    "japan": ("tokyo", "osaka", "kyoto", "nagoya"),
    "russia": ("moscow", "kazan", "omsk"),
    "norway": ("oslo", "bergen", "tromso"),
    "sweden": ("stockholm", "malmo", "uppsala"),
    "finland": ("helsinki", "turku", "oulu"),
    "canada": ("ottawa", "toronto", "calgary"),
    "australia": ("canberra", "sydney", "perth"),
    "brazil": ("brasilia", "recife", "salvador"),
    "peru": ("lima", "cusco", "arequipa"),
    "cuba": ("havana", "holguin", "matanzas"),
    "ireland": ("dublin", "cork", "galway"),
}
"""Each country's capital first, then its other cities."""

OPPOSITES: tuple[tuple[tuple[str, str], tuple[str, str], tuple[str, str]], ...] = (
    (("hot", "cold"), ("chaud", "froid"), ("heiss", "kalt")),
    (("big", "small"), ("grand", "petit"), ("gross", "klein")),
    (("fast", "slow"), ("rapide", "lent"), ("schnell", "langsam")),
    (("good", "bad"), ("bon", "mauvais"), ("gut", "schlecht")),
    (("light", "dark"), ("clair", "sombre"), ("hell", "dunkel")),
    (("high", "low"), ("haut", "bas"), ("hoch", "niedrig")),
    (("rich", "poor"), ("riche", "pauvre"), ("reich", "arm")),
    (("full", "empty"), ("plein", "vide"), ("voll", "leer")),
    (("strong", "weak"), ("fort", "faible"), ("stark", "schwach")),
    (("happy", "sad"), ("heureux", "triste"), ("froh", "traurig")),
    (("clean", "dirty"), ("propre", "sale"), ("sauber", "schmutzig")),
    (("hard", "soft"), ("dur", "mou"), ("hart", "weich")),
    (("young", "old"), ("jeune", "vieux"), ("jung", "alt")),
    (("loud", "quiet"), ("bruyant", "calme"), ("laut", "leise")),
    (("near", "far"), ("proche", "loin"), ("nah", "fern")),
    (("day", "night"), ("jour", "nuit"), ("tag", "nacht")),
    (("war", "peace"), ("guerre", "paix"), ("krieg", "frieden")),
    (("always", "never"), ("toujours", "jamais"), ("immer", "nie")),
)
"""Pairs of opposites, the same pair in English, French and German on one line."""

OPPOSITE_FORMS: dict[Language, tuple[str, str]] = {
    "english": ("the opposite of {} is", "what is the opposite of {} ?"),
    "french": ("le contraire de {} est", "quel est le contraire de {} ?"),
    "german": ("das gegenteil von {} ist", "was ist das gegenteil von {} ?"),
}
"""The statement and the question, to be followed by the opposite."""

LANGUAGES: tuple[Language, ...] = ("english", "french", "german")

PEOPLE: dict[str, str] = {
    "tom": "he",
    "ben": "he",
    "sam": "he",
    "max": "he",
    "anna": "she",
    "mia": "she",
    "lucy": "she",
    "eva": "she",
}
"""Names and their pronouns."""


class City(NamedTuple):
    """A city that is not a capital, for two-hop questions."""

    name: str
    country: str
    capital: str


CITIES: tuple[City, ...] = tuple(
    City(name, country, capital)
    for country, (capital, *others) in COUNTRIES.items()
    for name in others
)
CAPITALS: dict[str, str] = {country: cities[0] for country, cities in COUNTRIES.items()}


class Opposite(NamedTuple):
    """A word and its opposite in one language."""

    language: Language
    word: str
    opposite: str


def _opposites() -> tuple[Opposite, ...]:
    """Every word with its opposite, both ways round, in every language."""
    found: list[Opposite] = []
    for row in OPPOSITES:
        for language, (left, right) in zip(LANGUAGES, row, strict=True):
            found.append(Opposite(language, left, right))
            found.append(Opposite(language, right, left))
    return tuple(found)


ALL_OPPOSITES: tuple[Opposite, ...] = _opposites()
