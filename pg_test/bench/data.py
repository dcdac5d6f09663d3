"""Data sets: made by a generator, the ones beside the clone, or files given by path; streamed in blocks, never whole in memory."""

import dataclasses
import gzip
import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness import SHARED_DATA

from .words import Words

# Rows generated and copied at a time. What the generator makes depends on it: a block has a random sequence of its own.
BLOCK = 10_000
TOPICS = 1000
# Dimensions that the vectors really vary in; embeddings of texts have some dozens.
LATENT = 48
SPREAD = 0.7
# Queries carry more noise than rows: they are shorter than documents, and of another kind.
ROW_NOISE, QUERY_NOISE = 0.25, 0.45
MAP, ROWS, QUERIES, INSERTS, TEXTS, QUESTIONS = range(6)
WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{3,}")
SHARED_SETS = ("arxiv", "scifact")
TEXT_KINDS = {"2-3 terms": True, "titles": False}


class Absent(Exception):
    """A data set that is not on this machine; the message says where it was looked for."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive rows, from row number `first` on."""

    first: int
    vectors: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        return np.arange(self.first, self.first + len(self.vectors))


class Dataset:
    """Rows with vectors, and maybe texts; queries for both."""

    name: str
    about: str
    rows: int
    dim: int
    text_rows = 0

    def blocks(self) -> Iterator[Block]:
        """All rows, in order."""
        raise NotImplementedError

    def queries(self, count: int) -> np.ndarray:
        """At most `count` query vectors."""
        raise NotImplementedError

    def identity(self) -> str:
        """Changes whenever rows or queries would."""
        raise NotImplementedError

    def texts(self) -> Iterator[str]:
        """The texts of the first `text_rows` rows."""
        return iter(())

    def questions(self, count: int) -> dict[str, list[list[str]]]:
        """At most `count` text queries of each kind in TEXT_KINDS, as words; query i of `queries` is about the same."""
        return {}

    def inserts(self, count: int) -> np.ndarray:
        """Vectors of rows to come: those of the first block, moved a little."""
        rng = np.random.default_rng([INSERTS])
        first = next(self.blocks()).vectors
        rows = first[rng.integers(0, len(first), count)]
        scale = np.abs(rows).mean() * 0.2
        return (rows + scale * rng.standard_normal(rows.shape, dtype=np.float32)).astype(np.float32)


class Generated(Dataset):
    """Unit vectors like embeddings of texts: a thousand topics of unequal size in a latent space of few dimensions, mapped to `dim` and
    bent, with noise. The same seed gives the same rows on every machine with this NumPy, and a smaller set is the start of a larger."""

    def __init__(self, rows: int, dim: int, texts: int, seed: int = 1):
        self.rows, self.dim, self.seed = rows, dim, seed
        self.text_rows = min(rows, texts)
        self.name = f"generated {rows:,} × {dim}"
        self.about = f"generator of this repository, seed {seed}"
        rng = self._rng(MAP)
        self._topics = rng.standard_normal((TOPICS, LATENT), dtype=np.float32)
        self._map = rng.standard_normal((LATENT, dim), dtype=np.float32) / np.float32(np.sqrt(LATENT))

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    def _make(self, rng: np.random.Generator, count: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
        # The square of a uniform number prefers the first topics.
        topics = (rng.random(count) ** 2 * TOPICS).astype(int)
        latent = self._topics[topics] + SPREAD * rng.standard_normal((count, LATENT), dtype=np.float32)
        vectors = np.tanh(latent @ self._map)
        vectors += np.float32(noise) * rng.standard_normal((count, self.dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32, copy=False), topics

    def _block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return self._make(self._rng(ROWS, number), BLOCK, ROW_NOISE)

    def blocks(self) -> Iterator[Block]:
        for first in range(0, self.rows, BLOCK):
            yield Block(first, self._block(first // BLOCK)[0][: self.rows - first])

    def queries(self, count: int) -> np.ndarray:
        return self._make(self._rng(QUERIES), count, QUERY_NOISE)[0]

    def inserts(self, count: int) -> np.ndarray:
        return self._make(self._rng(INSERTS), count, ROW_NOISE)[0]

    def texts(self) -> Iterator[str]:
        words = Words()
        for first in range(0, self.text_rows, BLOCK):
            topics = self._block(first // BLOCK)[1]
            yield from words.documents(self._rng(TEXTS, first // BLOCK), topics)[: self.text_rows - first]

    def questions(self, count: int) -> dict[str, list[list[str]]]:
        words = Words()
        topics = self._make(self._rng(QUERIES), count, QUERY_NOISE)[1]
        return {kind: words.questions(self._rng(QUESTIONS, int(short)), topics, short) for kind, short in TEXT_KINDS.items()}

    def identity(self) -> str:
        constants = (BLOCK, TOPICS, LATENT, SPREAD, ROW_NOISE, QUERY_NOISE)
        return f"generated {self.rows} {self.dim} {self.seed} {constants}"


class Fvecs(Dataset):
    """A `.fvecs` file, and its queries: the sibling `…query.fvecs` of a `…base.fvecs`, `queries_emb.fvecs` beside `corpus_emb.fvecs`,
    or else the last rows, which then are not loaded."""

    def __init__(self, path: Path, rows: int, held_out: int = 500):
        self.path = path
        self.name, self.about = path.stem, f"file {path.name}"
        self._vectors = open_fvecs(path)
        self.dim = self._vectors.shape[1]
        self._query_path = next((p for p in self._query_names() if p != path and p.exists()), None)
        available = len(self._vectors) - (0 if self._query_path else held_out)
        if available <= 0:
            raise Absent(f"{path}: too few rows to hold {held_out} out as queries")
        self.rows = min(rows, available)
        if not self._query_path:
            self.about += f"; queries: its last {held_out} rows"

    def _query_names(self) -> list[Path]:
        name = self.path.name
        return [self.path.with_name(name.replace(a, b)) for a, b in (("base", "query"), ("corpus", "queries")) if a in name]

    def blocks(self) -> Iterator[Block]:
        for first in range(0, self.rows, BLOCK):
            yield Block(first, np.ascontiguousarray(self._vectors[first : min(first + BLOCK, self.rows)]))

    def queries(self, count: int) -> np.ndarray:
        rows = open_fvecs(self._query_path) if self._query_path else self._vectors[self.rows :]
        return np.ascontiguousarray(rows[:count])

    def identity(self) -> str:
        return f"{self.rows} " + " ".join(_file(p) for p in (self.path, self._query_path) if p)


class Parquet(Dataset):
    """Parquet files (a path, or a pattern of several): the first column of lists of numbers, and `text`, `body` or `content` where there
    is one. Queries are the last rows, which are not loaded."""

    def __init__(self, pattern: Path, rows: int, texts: int, held_out: int = 500):
        import duckdb  # heavy, and only for this

        self._duckdb = duckdb.connect()
        self.paths = sorted(pattern.parent.glob(pattern.name))
        if not self.paths:
            raise Absent(f"{pattern}: no such file")
        self.name, self.about = pattern.stem.strip("*-_") or pattern.parent.name, f"{len(self.paths)} Parquet file(s) {pattern.name}; queries: the last {held_out} rows"
        columns = self._duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(self.paths[0])]).fetchall()
        vectors = [name for name, kind, *_ in columns if re.fullmatch(r"(FLOAT|DOUBLE|HALF_FLOAT)\[\d*\]", kind)]
        if not vectors:
            raise Absent(f"{pattern}: no column of lists of numbers among {', '.join(name for name, *_ in columns)}")
        self._vector = vectors[0]
        self._text = next((name for name, kind, *_ in columns if kind == "VARCHAR" and name.lower() in ("text", "body", "content")), None)
        self._counts = [self._duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(p)]).fetchone()[0] for p in self.paths]
        first = self._duckdb.execute(f'SELECT len("{self._vector}") FROM read_parquet(?) LIMIT 1', [str(self.paths[0])]).fetchone()
        available = sum(self._counts) - held_out
        if first is None or available <= 0:
            raise Absent(f"{pattern}: too few rows to hold {held_out} out as queries")
        self.dim = first[0]
        self.rows = min(rows, available)
        self.text_rows = min(self.rows, texts) if self._text else 0

    def _parts(self, first: int, last: int) -> Iterator[tuple[str, int, int]]:
        """The files that rows `first` to `last` are in, with the range of each."""
        start = 0
        for path, count in zip(self.paths, self._counts):
            low, high = max(first - start, 0), min(last - start, count)
            if low < high:
                yield str(path), low, high
            start += count

    def _read(self, first: int, last: int) -> np.ndarray:
        query = f'SELECT unnest("{self._vector}")::FLOAT AS v FROM read_parquet(?, file_row_number = true) WHERE file_row_number >= ? AND file_row_number < ?'
        parts = [np.asarray(self._duckdb.execute(query, list(part)).fetchnumpy()["v"], dtype=np.float32) for part in self._parts(first, last)]
        values = np.concatenate(parts)
        if len(values) != (last - first) * self.dim:
            raise Absent(f"{self.name}: rows {first} to {last - 1} are not all vectors of {self.dim} dimensions")
        return values.reshape(-1, self.dim)

    def blocks(self) -> Iterator[Block]:
        for first in range(0, self.rows, BLOCK):
            yield Block(first, self._read(first, min(first + BLOCK, self.rows)))

    def queries(self, count: int) -> np.ndarray:
        end = sum(self._counts)
        return self._read(max(self.rows, end - count), end)

    def texts(self) -> Iterator[str]:
        query = f'SELECT coalesce("{self._text}", \'\') FROM read_parquet(?, file_row_number = true) WHERE file_row_number >= ? AND file_row_number < ? ORDER BY file_row_number'
        for first in range(0, self.text_rows, BLOCK):
            for part in self._parts(first, min(first + BLOCK, self.text_rows)):
                yield from (text for (text,) in self._duckdb.execute(query, list(part)).fetchall())

    def questions(self, count: int) -> dict[str, list[list[str]]]:
        # No titles here: the first words of documents.
        if not self._text:
            return {}
        return questions_of([text[:100] for text in itertools.islice(self.texts(), count)])

    def identity(self) -> str:
        return f"{self.rows} {self._vector} " + " ".join(map(_file, self.paths))


class Shared(Fvecs):
    """A set beside the clone: `corpus_emb.fvecs`, `queries_emb.fvecs` and the texts of both as gzipped lines of JSON."""

    def __init__(self, name: str, rows: int, texts: int):
        if SHARED_DATA is None:
            raise Absent(f"{name}: no shared data beside the clone (ELACSYM_SHARED_DATA)")
        self.directory = SHARED_DATA / name
        if not (self.directory / "corpus_emb.fvecs").exists():
            raise Absent(f"{name}: not among the shared data beside the clone")
        super().__init__(self.directory / "corpus_emb.fvecs", rows)
        self.name = f"{name} {self.rows:,} × {self.dim}"
        self.about = "texts with embeddings of a language model; the queries are texts of another kind"
        self.text_rows = min(self.rows, texts)

    def _lines(self, file: str) -> Iterator[dict]:
        with gzip.open(self.directory / file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def texts(self) -> Iterator[str]:
        for document in itertools.islice(self._lines("corpus.jsonl.gz"), self.text_rows):
            yield f"{document.get('title', '')} {document.get('text', '')}"

    def questions(self, count: int) -> dict[str, list[list[str]]]:
        return questions_of([q.get("text") or q.get("title") or "" for q in itertools.islice(self._lines("queries.jsonl.gz"), count)])


def questions_of(titles: list[str]) -> dict[str, list[list[str]]]:
    """Text queries from titles: the words of each, and two or three of its long ones."""
    rng = np.random.default_rng([QUESTIONS])
    whole = [list(dict.fromkeys(WORD.findall(title.lower()))) or ["nothing"] for title in titles]
    short = [sorted(words, key=len)[-int(rng.integers(2, 4)) :] for words in whole]
    return {kind: short if is_short else whole for kind, is_short in TEXT_KINDS.items()}


def open_fvecs(path: Path) -> np.ndarray:
    """The vectors of the file, mapped into memory."""
    try:
        raw = np.memmap(path, "<i4", mode="r")
    except (OSError, ValueError) as error:
        raise Absent(f"{path}: {error}") from None
    dim = int(raw[0])
    if dim <= 0 or len(raw) % (dim + 1):
        raise Absent(f"{path}: not an fvecs file of vectors of one length")
    return raw.reshape(-1, dim + 1)[:, 1:].view("<f4")


def open_dataset(word: str, rows: int, dim: int, texts: int, seed: int) -> Dataset:
    """The data set that one word of BENCH_DATA names; Absent when it is not here."""
    kind, _, shape = word.partition(":")
    if kind == "generated":
        if shape:
            size = re.fullmatch(r"(\d+)x(\d+)", shape)
            if not size:
                raise Absent(f"{word}: expected generated:ROWSxDIM")
            rows, dim = int(size[1]), int(size[2])
        return Generated(rows, dim, texts, seed)
    if word in SHARED_SETS:
        return Shared(word, rows, texts)
    path = Path(word)
    if path.suffix == ".fvecs":
        return Fvecs(path, rows)
    if path.suffix == ".parquet":
        return Parquet(path, rows, texts)
    raise Absent(f"{word}: neither generated, arxiv, scifact nor a path to .fvecs or .parquet")


def _file(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def digest(*words: object) -> str:
    """A short name for a combination of things."""
    return hashlib.sha256(repr(words).encode()).hexdigest()[:16]
