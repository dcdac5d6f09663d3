"""SciFact: documents, queries, judgements and embeddings, and nDCG over them."""

import gzip
import json
import math
from pathlib import Path

import numpy as np


def read_jsonl(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def read_fvecs(path: Path, dim: int = 384) -> np.ndarray:
    return np.fromfile(path, "<i4").reshape(-1, dim + 1)[:, 1:].copy().view("<f4")


class SciFact:
    """5,183 documents, 300 test queries; document ids are the corpus' own integers."""

    def __init__(self, root: Path):
        root = root / "scifact"
        self.documents = read_jsonl(root / "corpus.jsonl.gz")
        self.vectors = read_fvecs(root / "corpus_emb.fvecs")
        self.queries = read_jsonl(root / "queries.jsonl.gz")
        self.query_vectors = read_fvecs(root / "queries_emb.fvecs")
        self.relevant: dict[int, dict[int, int]] = {}
        for line in (root / "qrels.tsv").read_text().splitlines()[1:]:
            query, document, grade = line.split("\t")
            self.relevant.setdefault(int(query), {})[int(document)] = int(grade)

    def ndcg(self, rankings: dict[int, list[int]], k: int = 10) -> float:
        """Mean over the queries; gain = grade, log2 discount."""
        total = 0.0
        for query, relevant in self.relevant.items():
            gains = [relevant.get(document, 0) for document in rankings[query][:k]]
            ideal = sorted(relevant.values(), reverse=True)[:k]
            total += _dcg(gains) / _dcg(ideal)
        return total / len(self.relevant)


def _dcg(gains: list[int]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))
