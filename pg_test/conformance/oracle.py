"""What the answers must be, by brute force over the documents: exact distances, textbook BM25, two-valued filters.

Nothing here comes from the engine. What the documentation leaves to the oracle: BM25 counts every row that is stored and not yet compacted away,
superseded and deleted ones too (README, limits), so the documents that count are handed in beside those that live.
"""

import collections
import functools
import math

import numpy as np

from .analysis import lower, split, terms, tokens
from .corpus import TEXTS, Document, Text


class MatchText(str):
    """The text of a boolean query, and what was meant by it: (sign, kind, words) with the kinds word, phrase and prefix."""

    parts: list[tuple[str, str, str]]

    @staticmethod
    def of(*parts: tuple[str, str, str]) -> "MatchText":
        written = {"word": "{}", "phrase": '"{}"', "prefix": "{}*"}
        made = MatchText(" ".join(sign + written[kind].format(words) for sign, kind, words in parts))
        made.parts = list(parts)
        return made


# -- filters ----------------------------------------------------------------------------------------------------------


def holds(condition: dict, document: Document) -> bool:
    """Whether a document matches a filter. A comparison with a missing attribute is false; `ne`, `not_in` and `not` are exact opposites."""
    if "type" in condition:
        inner = (holds(c, document) for c in condition["conditions"])
        return {"and": all, "or": any, "not": lambda it: not next(it)}[condition["type"]](inner)
    op, value, held = condition["op"], condition.get("value"), document.get(condition["field"])
    if op == "is_null":
        return (held is None) == (value is not False)
    if op in ("ne", "not_in"):
        return not holds({**condition, "op": {"ne": "eq", "not_in": "in"}[op]}, document)
    if held is None:
        return False
    if op == "match":
        return matches(TEXTS[condition["field"]], value, held)
    return _compare(op, held, value)


def _compare(op: str, held, value) -> bool:
    match op:
        case "eq":
            return held == value
        case "in":
            return held in value
        case "contains":
            return value in held
        case "contains_any":
            return any(v in held for v in value)
        case "prefix":
            return held.startswith(value)
    if isinstance(held, str):
        held, value = held.encode(), value.encode()
    return {"gt": held > value, "gte": held >= value, "lt": held < value, "lte": held <= value}[op]


def matches(options: Text, query: MatchText, text: str) -> bool:
    """The boolean match of one text."""
    signed: dict[str, list[bool]] = {"": [], "+": [], "-": []}
    for sign, kind, words in query.parts:
        # an alternative that is split is its parts, as if they were written apart
        for part in split(words) if (sign, kind) == ("", "word") else [words]:
            found = _part(options, kind, part, text)
            if found is not None:
                signed[sign].append(found)
    if any(signed["-"]):
        return False
    if signed["+"]:
        return all(signed["+"])
    return any(signed[""]) if signed[""] else bool(signed["-"])


@functools.lru_cache(maxsize=50_000)
def _places(options: Text, text: str) -> dict[str, set[int]]:
    places = collections.defaultdict(set)
    for position, term in tokens(options, text):
        places[term].add(position)
    return dict(places)


def _part(options: Text, kind: str, words: str, text: str) -> bool | None:
    """Whether a text has that word, phrase or prefix; None if the analyser leaves nothing of it."""
    places = _places(options, text)
    whole = split(words)
    if kind == "prefix" and len(whole) == 1:
        prefix = whole[0] if options.case_sensitive else lower(whole[0])
        return any(term.startswith(prefix) for term in places) or any(term in places for _, term in tokens(options, words))
    wanted = tokens(options, words)
    if not wanted:
        return None
    first = wanted[0][0]
    return any(all(start + position - first in places.get(term, ()) for position, term in wanted) for start in places.get(wanted[0][1], ()))


# -- BM25 -------------------------------------------------------------------------------------------------------------


def stored_length(length: int) -> int:
    """A length as Lucene keeps it, in one byte: exact up to 40, then with 4 significant bits above 24."""
    rest = length - 24
    shift = max(rest.bit_length() - 4, 0)
    return length if rest < 0 else (rest >> shift << shift) + 24


class Statistics:
    """What BM25 counts in one full-text attribute."""

    def __init__(self, field: str, counted: list[Document]):
        self.options = TEXTS[field]
        self.documents = len(counted)
        texts = [d.get(field) for d in counted if d.get(field) is not None]
        analysed = [terms(self.options, text) for text in texts]
        self.average = sum(map(len, analysed)) / max(self.documents, 1)
        self.frequencies = collections.Counter(term for one in analysed for term in set(one))

    def score(self, wanted: list[tuple[str, int]], text: str) -> float | None:
        """The score of a text for terms with their document frequencies, None if it has none of them."""
        held = collections.Counter(terms(self.options, text))
        k1, b = self.options.k1, self.options.b
        norm = k1 * (1 - b + b * stored_length(sum(held.values())) / self.average) if self.average else 0.0
        score, found = 0.0, False
        for term, df in wanted:
            if held[term]:
                found = True
                idf = math.log(1 + (self.documents - df + 0.5) / (df + 0.5))
                score += idf * (k1 + 1) * held[term] / (held[term] + norm)
        return score if found else None


# -- a collection -----------------------------------------------------------------------------------------------------


class Oracle:
    """The documents of one target in one layout."""

    def __init__(self, live: dict[int, Document], counted: list[Document], order: dict[int, object] | None = None):
        self.live = live
        self.order = order or {id_: id_ for id_ in live}
        self.statistics = {field: Statistics(field, counted) for field in TEXTS}

    def matching(self, condition: dict | None) -> frozenset[int]:
        """The ids that match a filter."""
        return frozenset(id_ for id_, d in self.live.items() if condition is None or holds(condition, d))

    def distances(self, metric: str, query: tuple[float, ...], ids: frozenset[int]) -> dict[int, float]:
        """Distances of the documents that have a vector."""
        rows = [(id_, v) for id_ in ids if (v := self.live[id_].vector_for(metric)) is not None]
        if not rows:
            return {}
        matrix = np.array([v for _, v in rows], dtype=np.float32).astype(np.float64)
        target = np.array(query, dtype=np.float32).astype(np.float64)
        dots = (matrix * target).sum(axis=1)
        if metric == "cosine":
            values = 1 - np.clip(dots / (np.sqrt((matrix**2).sum(axis=1)) * np.sqrt((target**2).sum())), -1, 1)
        elif metric == "l2":
            values = np.sqrt(((matrix - target) ** 2).sum(axis=1))
        else:
            values = -dots
        return {id_: float(np.float32(value)) for (id_, _), value in zip(rows, values)}

    def scores(self, query: str, weights: dict[str, float], ids: frozenset[int]) -> dict[int, float]:
        """BM25 of the documents that have a word of the query, summed over the fields."""
        found: dict[int, float] = {}
        searched = {field: dict(tokens(TEXTS[field], query)) for field, weight in weights.items() if weight > 0}
        # Of each term in the column where it is most frequent. A word is several terms where columns are analysed differently.
        df = collections.Counter()
        for field, words in searched.items():
            for term in words.values():
                df[term] = max(df[term], self.statistics[field].frequencies[term])
        for field, words in searched.items():
            wanted = [(term, df[term]) for term in words.values()]
            for id_ in ids:
                text = self.live[id_].get(field)
                score = None if text is None else self.statistics[field].score(wanted, text)
                if score is not None:
                    found[id_] = found.get(id_, 0.0) + weights[field] * score
        return found

    def same_input(self, a: int, b: int) -> bool:
        """Whether two documents are the same to every arm."""
        x, y = self.live[a], self.live[b]
        return x.vector == y.vector and all(x.get(field) == y.get(field) for field in TEXTS)
