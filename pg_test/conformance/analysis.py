"""Tokens of the default tokenizer, said once more in Python: what README.md and the schema say of a full-text attribute."""

import functools
import unicodedata

import snowballstemmer

from .corpus import Text

# Lucene's list, which is the one that is documented for English.
STOP_WORDS = {
    "english": frozenset(
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with".split()
    )
}
MAX_TOKEN_BYTES = 128


@functools.cache
def _stem(language: str, word: str) -> str:
    return _stemmer(language).stemWord(word)


@functools.cache
def _stemmer(language: str):
    return snowballstemmer.stemmer(language)


def split(text: str) -> list[str]:
    """Runs of letters and digits, with marks written on them."""
    runs, run = [], []
    for c in text + " ":
        if c.isalnum() or (run and unicodedata.category(c).startswith("M")):
            run.append(c)
        elif run:
            runs.append("".join(run))
            run = []
    return runs


def lower(word: str) -> str:
    """Letter by letter: the form of a letter does not depend on its place."""
    return "".join(c.lower() for c in word)


def tokens(options: Text, text: str) -> list[tuple[int, str]]:
    """(position, term); dropped words keep their positions."""
    found = []
    for position, word in enumerate(split(text)):
        if len(word.encode()) > MAX_TOKEN_BYTES:
            continue
        if not options.case_sensitive:
            word = lower(word)
        if options.remove_stopwords and word in STOP_WORDS.get(options.language, ()):
            continue
        found.append((position, _stem(options.language, word) if options.stemming else word))
    return found


@functools.lru_cache(maxsize=50_000)
def terms(options: Text, text: str) -> tuple[str, ...]:
    """The terms alone."""
    return tuple(term for _, term in tokens(options, text))
