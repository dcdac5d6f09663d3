"""Made-up documents and text queries: words by Zipf's law, with topics that have words of their own."""

import numpy as np

VOCABULARY = 60_000
# Exponent of the law: English prose is close to 1.
EXPONENT = 1.05
TOPIC_WORDS = 300
# How many words of a document are its topic's own.
TOPICAL = 0.3
# Logarithm of a document's length: abstracts have about 150 words.
LENGTH_MEAN, LENGTH_SIGMA, LENGTH_LEAST, LENGTH_MOST = 5.0, 0.35, 30, 400
# The most frequent words stand for "the" and "of": nobody asks for them alone.
FUNCTION_WORDS = 60
SYLLABLES = [c + v for c in "bdfgklmnprstvzj" for v in "aeiou"]


def word(rank: int) -> str:
    """The word of a frequency rank: three syllables, and a fourth beyond what three can spell."""
    letters = ""
    for _ in range(3):
        rank, syllable = divmod(rank, len(SYLLABLES))
        letters += SYLLABLES[syllable]
    return letters + (SYLLABLES[rank] if rank else "")


class Words:
    """The vocabulary, and ranks drawn from it."""

    def __init__(self):
        self.spelled = np.array([word(rank) for rank in range(VOCABULARY)], dtype=object)
        weights = 1.0 / np.arange(1, VOCABULARY + 1) ** EXPONENT
        self.cumulated = np.cumsum(weights) / weights.sum()
        weights = weights[:TOPIC_WORDS]
        self.topic_cumulated = np.cumsum(weights) / weights.sum()

    def ranks(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.searchsorted(self.cumulated, rng.random(count)).clip(0, VOCABULARY - 1)

    def topical(self, rng: np.random.Generator, topics: np.ndarray) -> np.ndarray:
        """One word for each topic given, out of that topic's own: words of the middle ranks, scattered by the topic's number."""
        place = np.searchsorted(self.topic_cumulated, rng.random(len(topics))).clip(0, TOPIC_WORDS - 1)
        return FUNCTION_WORDS + (topics * 7919 + place * 131) % (VOCABULARY - FUNCTION_WORDS)

    def documents(self, rng: np.random.Generator, topics: np.ndarray) -> list[str]:
        """One document for each topic given."""
        lengths = np.exp(rng.normal(LENGTH_MEAN, LENGTH_SIGMA, len(topics))).clip(LENGTH_LEAST, LENGTH_MOST).astype(int)
        ranks = self.ranks(rng, int(lengths.sum()))
        own = self.topical(rng, np.repeat(topics, lengths))
        ranks = np.where(rng.random(len(ranks)) < TOPICAL, own, ranks)
        spelled = self.spelled[ranks]
        ends = np.cumsum(lengths)
        return [" ".join(spelled[end - length : end]) for end, length in zip(ends, lengths)]

    def questions(self, rng: np.random.Generator, topics: np.ndarray, short: bool) -> list[list[str]]:
        """Queries about the topics: two or three words that mean something, or a title of 8 to 12 words of any kind."""
        questions = []
        for topic in topics:
            count = int(rng.integers(2, 4)) if short else int(rng.integers(8, 13))
            own = self.topical(rng, np.full(count, topic))
            any_ = self.ranks(rng, count) if not short else rng.integers(FUNCTION_WORDS, 6000, count)
            questions.append(list(dict.fromkeys(self.spelled[np.where(rng.random(count) < 0.5, own, any_)])))
        return questions
