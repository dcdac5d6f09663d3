"""The documents of the conformance suite, and how they came to be: one seeded history of writes.

Every attribute is missing somewhere, values repeat, vectors and texts have exact duplicates, rows were updated and deleted.
"""

import dataclasses
import datetime
import decimal
import functools
import random
import uuid
from collections.abc import Sequence

SEED = 20261123
DIM = 24
DOCUMENTS = 1200
# How many of them are written a second time, and how many are deleted; some of those come back.
UPDATED, DELETED, REVIVED = 130, 90, 25


@dataclasses.dataclass(frozen=True)
class Text:
    """The options of a full-text attribute."""

    language: str = "english"
    stemming: bool = True
    remove_stopwords: bool = True
    case_sensitive: bool = False
    k1: float = 1.2
    b: float = 0.75
    weight: float = 1.0


TEXTS = {
    "title": Text(weight=2.0),
    "body": Text(),
    "remark": Text(language="german", remove_stopwords=False, k1=2.0, b=0.3, weight=0.5),
    "code": Text(stemming=False, remove_stopwords=False, case_sensitive=True, k1=0.0, b=1.0),
}
# name → (type in the schema of a namespace, type of the table's column)
ATTRIBUTES = {
    "category": ("string", "text"),
    "name": ("string", "text"),
    "year": ("int", "int4"),
    "big": ("int", "int8"),
    "price": ("float", "float8"),
    "active": ("bool", "bool"),
    "tags": ("array_string", "text[]"),
    "day": ("timestamp", "date"),
    "seen": ("timestamp", "timestamptz"),
    "local": ("timestamp", "timestamp"),
    "uid": ("uuid", "uuid"),
    "numbers": ("array_int", "int4[]"),
    "keys": ("array_int", "int8[]"),
}
# What only the columns of an index have.
COLUMNS = {
    "amount": "numeric",
    "small": "int2",
    "ratio": "float4",
    "note": "text",
}

CATEGORIES = ["db", "ml", "food", "travel", "DB", "été", "日本", "a b", "", "zz"]
NAMES = [
    "Ångström",
    "anna",
    "Anna",
    "ann",
    "annabel",
    "émile",
    "emile",
    "Ωmega",
    "naïve",
    "straße",
    "日本語",
    "日本",
    "x" * 300,
    "a%b",
    "a_b",
    "q'uote",
    'dq"uote',
    "back\\slash",
    " ",
    "tab\there",
]
TAGS = ["red", "green", "blue", "Blue", "grün", "a,b", "{}", "NULL", "two words", "", "x'y"]
BIGS = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 10**12]
# An index keeps the first 8,192 bytes of a string, and no part of a character.
NOTES = ["", "short", "m" * 8_188, "m" * 8_189, "m" * 8_191 + "é", "m" * 8_191 + "z", "m" * 8_192, "m" * 8_189 + "🦌a", "m" * 8_189 + "🦌b", "m" * 9_001, "m" * 9_002]
PRICES = [0.0, 0.1, 0.3, -2.5, 1e-30, 1e30, 19.99, 20.0, 0.1 + 0.2, 1.7976931348623157e308, 5e-324]

# Common first: word i is about as often as 1 / (i + 3).
WORDS = """
search index postgres vector storage query database object table row segment the engine of and cache running to commit is document list
rank fusion score filter text token page write buffer log snapshot transactions transaction indexes indexing indexed searching searched
searches queries databases databased storing stored stores runs ran runner mountain river lake lakes cloud clouds data lakehouse swamp
bread baking baked baker flour yeast oven recipes recipe tomato basil garlic travel travelling traveller ticket tickets train station
generous generously generation generations general generally relative relational relation relations relativity organ organization
organizations universe university universal happy happiness happily hopping hoped hoping skies sky news dying lying tying early earlier
national nation nations nationality conditional condition conditions rational able ability abilities arguing argued argument arguments
caresses cats ponies ties replacement adjustable adoption electrical electricity hesitancy digitizer conformably radically vileness
2023 42 x1 naïve café cafés über straße résumé 日本 данные данных Ωmega i̇stanbul e-mail wi-fi
""".split()
GERMAN = """
und der die das haus häuser hauses läufer laufen läuft lief über unter straße straßen ergebnis ergebnisse suche suchen sucht gesucht index
datenbank datenbanken vektor vektoren schön schöner schönste katze katzen brot bäcker bäckerei zug züge bahnhof reise reisen gereist
""".split()
CODES = "AB-12 ab-12 AB12 ab12 x1 X1 x1-y2 getUserName user_name v1.2.3 µ0 A a AA aa 007 7 #tag @home".split()
# One token too long to be one, and one that just is.
TOO_LONG, LONGEST = "q" * 129, "w" * 128


@dataclasses.dataclass(frozen=True)
class Document:
    """One version of a document. Attributes that are None are missing."""

    id: int
    vector: tuple[float, ...] | None
    attributes: dict

    def get(self, name: str):
        return self.attributes.get(name)

    def vector_for(self, metric: str) -> tuple[float, ...] | None:
        """A vector of zeros has no direction, so a namespace does not take it under cosine."""
        if metric == "cosine" and self.vector is not None and not any(self.vector):
            return None
        return self.vector


@dataclasses.dataclass(frozen=True)
class Write:
    """One step of the history: `document` is what becomes of `id`, None: it is deleted."""

    id: int
    document: Document | None


class Generator:
    """Makes documents that are alike in some ways and the same in others."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.notes = random.Random(SEED + 2)
        self.centres = [[rng.gauss(0, 1) for _ in range(DIM)] for _ in range(14)]
        self.vectors: list[tuple[float, ...]] = []
        self.texts: list[dict] = []

    def vector(self) -> tuple[float, ...] | None:
        rng = self.rng
        form = rng.random()
        if form < 0.06:
            return None
        if form < 0.063:
            return (0.0,) * DIM
        if form < 0.13 and self.vectors:
            return rng.choice(self.vectors)
        centre = rng.choice(self.centres)
        made = tuple(round(x + rng.gauss(0, 0.45), 3) for x in centre)
        self.vectors.append(made)
        return made

    def words(self, vocabulary: list[str], least: int, most: int) -> str:
        weights = [1 / (i + 3) for i in range(len(vocabulary))]
        chosen = self.rng.choices(vocabulary, weights, k=self.rng.randint(least, most))
        chosen = [w.capitalize() if self.rng.random() < 0.15 else w.upper() if self.rng.random() < 0.03 else w for w in chosen]
        return "".join(w + self.rng.choice([" ", " ", " ", " ", ", ", ". ", "-", " – "]) for w in chosen).strip()

    def text(self) -> dict:
        rng = self.rng
        if self.texts and rng.random() < 0.05:
            return rng.choice(self.texts)
        least, most = rng.choice([(0, 4), (5, 35), (5, 35), (5, 35), (5, 35), (5, 35), (39, 60), (60, 260)])
        made = {
            "title": self.words(WORDS, 1, 8) if rng.random() > 0.07 else None,
            "body": self.words(WORDS, least, most) if rng.random() > 0.08 else None,
            "remark": self.words(GERMAN, 0, 14) if rng.random() > 0.4 else None,
            "code": " ".join(rng.choices(CODES, k=rng.randint(1, 4))) if rng.random() > 0.3 else None,
        }
        if rng.random() < 0.01 and made["body"] is not None:
            made["body"] += f" {TOO_LONG} {LONGEST}"
        self.texts.append(made)
        return made

    def attributes(self) -> dict:
        rng = self.rng
        have = lambda value, missing=0.1: None if rng.random() < missing else value  # noqa: E731
        moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=rng.randint(0, 400), microseconds=rng.choice([0, 0, 1, 999_999]))
        return {
            "category": have(rng.choices(CATEGORIES, [30, 20, 10, 8, 5, 4, 4, 3, 2, 2])[0]),
            "name": have(rng.choice(NAMES)),
            "year": have(rng.choice([*range(1990, 2027), -1, 0, 2**31 - 1, -(2**31)])),
            "big": have(rng.choice(BIGS)),
            "price": have(rng.choice(PRICES) if rng.random() < 0.5 else round(rng.uniform(-10, 100), 2)),
            "active": have(rng.random() < 0.6),
            "tags": have(rng.sample(TAGS, rng.randint(0, 4))),
            "amount": have(rng.choice([decimal.Decimal(t) for t in ("0", "0.10", "0.1", "9007199254740993", "9007199254740992", "-1e30", "12.5")])),
            "day": have(moment.date()),
            "seen": have(moment),
            "local": have(moment.replace(tzinfo=None)),
            "uid": have(uuid.UUID(int=rng.choice([0, 1, 2**127, 2**128 - 1, rng.randrange(40)]))),
            "small": have(rng.choice([-32768, 32767, *range(-3, 9)])),
            "ratio": have(rng.choice([i / 4 for i in range(-6, 12)])),
            "numbers": have([rng.randint(-2, 9) for _ in range(rng.randint(0, 4))]),
            "keys": have([rng.choice(BIGS) for _ in range(rng.randint(0, 3))]),
            # few are long, for the sake of time
            "note": self.notes.choice(NOTES if self.notes.random() < 0.1 else [None, *NOTES[:2]]),
        }

    def document(self, id_: int) -> Document:
        return Document(id_, self.vector(), self.text() | self.attributes())


@functools.cache
def history() -> tuple[Write, ...]:
    """Every write in its order; always the same."""
    rng = random.Random(SEED)
    generator = Generator(rng)
    ids = rng.sample(range(1, 10 * DOCUMENTS), DOCUMENTS - 4)
    ids += [0, -7, 2**40, 2**62]
    placed = [(rng.random(), Write(i, generator.document(i))) for i in ids]
    when = {write.id: at for at, write in placed}
    later = lambda id_: when[id_] + (1 - when[id_]) * rng.random()  # noqa: E731
    for i in rng.sample(ids, UPDATED):
        when[i] = later(i)
        placed.append((when[i], Write(i, generator.document(i))))
    for n, i in enumerate(rng.sample(ids, DELETED)):
        when[i] = later(i)
        placed.append((when[i], Write(i, None)))
        if n < REVIVED:
            when[i] = later(i)
            placed.append((when[i], Write(i, generator.document(i))))
    return tuple(write for _, write in sorted(placed, key=lambda pair: pair[0]))


def live(writes: Sequence[Write]) -> dict[int, Document]:
    """What is left of a history, by id."""
    documents: dict[int, Document] = {}
    for write in writes:
        if write.document is None:
            documents.pop(write.id, None)
        else:
            documents[write.id] = write.document
    return documents
