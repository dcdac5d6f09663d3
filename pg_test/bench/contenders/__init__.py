"""The contenders, one class each. None but elacsym is required: each says whether the server has what it needs."""

from .base import Contender, HybridContender, TextContender, VectorContender
from .elacsym import Elacsym, ElacsymHybrid, ElacsymText
from .exact import SequentialScan
from .pgvector import Hnsw, HnswGin, IvfFlat
from .postgres_text import Gin, Rum
from .vectorchord import VectorChord, VectorChordBm25

VECTOR: tuple[VectorContender, ...] = (Elacsym(), Hnsw(), IvfFlat(), VectorChord(), SequentialScan())
TEXT: tuple[TextContender, ...] = (ElacsymText(), Gin(), Rum(), VectorChordBm25())
HYBRID: tuple[HybridContender, ...] = (ElacsymHybrid(True, True), ElacsymHybrid(True, False), ElacsymHybrid(False, True), HnswGin())
KEYS = tuple(dict.fromkeys(c.key for c in (*VECTOR, *TEXT, *HYBRID)))

__all__ = ["HYBRID", "KEYS", "TEXT", "VECTOR", "Contender", "HybridContender", "TextContender", "VectorContender"]
