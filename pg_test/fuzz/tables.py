"""Random tables with elacsym indexes, random values, random conditions. Everything is SQL text, so that a log can be run again."""

import random

WORDS = (
    "postgres Postgres vector searching search index indexes lake lakes river mountain cloud storage query the and of über straße naïve "
    "e-mail x1 42 3.14 running runs run ran Ähre 日本 don't a"
).split()
LANGUAGES = ("english", "german", "french")
METRICS = {"vector_l2_ops": "<->", "vector_ip_ops": "<#>", "vector_cosine_ops": "<=>"}
# Long, and equal up to beyond the length that filters keep.
LONG = "long " * 1700

SCALARS = (
    "text", 'text COLLATE "C"', "varchar(20000)", "int2", "int4", "int8", "float4", "float8", "numeric", "bool", "date", "timestamp",
    "timestamptz", "uuid",
)
ARRAYS = ("text[]", "int4[]", "int8[]")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def words(rng: random.Random, least=0, most=9) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


def scalar(rng: random.Random, kind: str) -> str:
    """A literal without its type."""
    kind = kind.split("(")[0].split(" ")[0]
    if kind in ("text", "varchar"):
        return quoted(rng.choice([*"abcABCäé", "", " ", "a b", "Z", "zz", LONG + "1", LONG + "2", LONG]))
    if kind == "int2":
        return quoted(str(rng.choice([-32768, 32767, *range(-3, 9)])))
    if kind == "int4":
        return quoted(str(rng.choice([-(2**31), 2**31 - 1, *range(-3, 20)])))
    if kind == "int8":
        return quoted(str(rng.choice([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, *range(-3, 9)])))
    if kind in ("float4", "float8"):
        return quoted(rng.choice(["NaN", "Infinity", "-Infinity", "0", "-0", "1e-30", "-1e30", "1e38", *(str(i / 4) for i in range(-6, 12)), "0.1", "0.3"]))
    if kind == "numeric":
        return quoted(rng.choice([
            "NaN", "Infinity", "-Infinity", "0", "0.00", "1e400", "-1e400", "9007199254740993", "9007199254740992", "0.1", "0.10000000000000000001",
            *(str(i / 4) for i in range(-4, 9)),
        ]))
    if kind == "bool":
        return rng.choice(["true", "false"])
    if kind == "date":
        return quoted(rng.choice(["infinity", "-infinity", "4000-01-01 BC", *(f"2024-01-{d:02}" for d in range(1, 12))]))
    if kind.startswith("timestamp"):
        return quoted(rng.choice(["infinity", "-infinity", "4000-01-01 BC", "2024-01-01 00:00:00.000001", *(f"2024-01-01 {h:02}:30" for h in range(0, 12))]))
    if kind == "uuid":
        return quoted(f"{rng.choice([0, 1, 2, 15, 255, 2**32 - 1]):08x}-0000-4000-8000-00000000000{rng.randint(0, 5)}")
    raise AssertionError(kind)


class Column:
    """A column of the table, or an expression over one, that an index has."""

    def __init__(self, name: str, kind: str, expression: str | None = None):
        self.name, self.kind, self.expression = name, kind, expression or name

    def element(self, rng) -> str:
        return scalar(rng, self.kind.removesuffix("[]"))

    def value(self, rng) -> str:
        if rng.random() < 0.15:
            return "NULL"
        if self.kind.endswith("[]"):
            return self.array(rng, rng.randint(0, 4), nulls=True)
        return self.element(rng) + "::" + self.kind.split(" ")[0]

    def array(self, rng, length, nulls=False) -> str:
        elements = [("NULL" if nulls and rng.random() < 0.1 else self.element(rng)) for _ in range(length)]
        kind = self.kind.removesuffix("[]").split(" ")[0]
        return f"ARRAY[{', '.join(elements)}]::{kind}[]"

    def condition(self, rng) -> str:
        x = self.expression
        if rng.random() < 0.12:
            return f"{x} IS {rng.choice(['', 'NOT '])}NULL"
        if self.kind.endswith("[]"):
            return f"{x} {rng.choice(['@>', '&&', '&&', '=', '<@'])} {self.array(rng, rng.randint(0, 3), nulls=rng.random() < 0.2)}"
        kind = self.kind.split(" ")[0]
        if kind in ("int2", "int4", "int8") and rng.random() < 0.3:
            kind = rng.choice(["int2", "int4", "int8"])
            value = Column("", kind).element(rng) + "::" + kind
        elif kind in ("float4", "float8") and rng.random() < 0.3:
            value = self.element(rng) + "::" + rng.choice(["float4", "float8"])
        else:
            value = self.element(rng) + "::" + kind
        if kind == "bool" and rng.random() < 0.5:
            return rng.choice([x, f"NOT {x}", f"{x} IS NOT TRUE"])
        form = rng.random()
        if form < 0.2:
            return f"{x} = ANY ({Column('', kind).array(rng, rng.randint(0, 4), nulls=rng.random() < 0.2)})"
        if form < 0.27:
            return f"{x} {rng.choice(['<', '>=', '<>'])} ANY ({Column('', kind).array(rng, rng.randint(1, 3))})"
        if form < 0.32:
            return f"{x} = NULL::{kind}"
        return f"{x} {rng.choice(['<', '<=', '=', '=', '=', '>=', '>', '<>'])} {value}"


class Index:
    """One elacsym index of the table."""

    def __init__(self, rng: random.Random, name: str, table: "Table"):
        self.name = name
        self.metric = rng.choice(list(METRICS)) if rng.random() < 0.9 else None
        self.texts = rng.sample(["body", "title"], rng.choice([0, 1, 1, 2, 2]))
        self.options = {text: self._text_options(rng) for text in self.texts}
        self.columns = rng.sample(table.columns, rng.randint(1, min(5, len(table.columns))))
        if rng.random() < 0.35:
            expression = rng.choice([("(grp % 3)", "int4"), ("lower(note)", "text"), ("(id % 10)", "int8"), ("(grp IS NULL)", "bool")])
            self.columns.append(Column("", expression[1], expression[0]))
        self.predicate = rng.choice(["grp < 6", "note IS NOT NULL", "id % 2 = 0"]) if rng.random() < 0.3 else None
        keys = [f"v {self.metric}"] if self.metric else []
        keys += [f"{text} bm25_ops{self.options[text]}" for text in self.texts] + [f"({c.expression})" if not c.name else c.name for c in self.columns]
        rng.shuffle(keys)
        include = " INCLUDE (grp, note)" if rng.random() < 0.25 else ""
        where = f" WHERE {self.predicate}" if self.predicate else ""
        self.ddl = f"INDEX {name} ON t USING elacsym ({', '.join(keys)}){include}{where}"

    @staticmethod
    def _text_options(rng) -> str:
        options = {}
        if rng.random() < 0.5:
            options["language"] = quoted(rng.choice(LANGUAGES))
        for name in ("stemming", "stopwords", "case_sensitive"):
            if rng.random() < 0.4:
                options[name] = rng.choice(["true", "false"])
        if rng.random() < 0.3:
            options |= {"k1": rng.choice(["0", "0.9", "2"]), "b": rng.choice(["0", "0.4", "1"])}
        if rng.random() < 0.3:
            options["weight"] = rng.choice(["0.5", "3"])
        return f" ({', '.join(f'{k} = {v}' for k, v in options.items())})" if options else ""

    def condition(self, rng: random.Random) -> str:
        """What a query asks: the predicate, if there is one, and up to three conditions."""
        parts = [self.predicate] if self.predicate else []
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            parts.append(self._one(rng))
        if rng.random() < 0.2:
            parts.append(rng.choice(["grp = 3", "note LIKE 'a%'", "id < 60", "grp IN (1, 2, 7)"]))
        return " AND ".join(parts) or "true"

    def indexed_condition(self, rng: random.Random) -> str:
        """As `condition`, with at least one that the index can be asked for."""
        return " AND ".join(([self.predicate] if self.predicate else []) + [self._one(rng) for _ in range(rng.choice([1, 1, 2]))])

    def _one(self, rng) -> str:
        if self.texts and rng.random() < 0.3:
            return f"{rng.choice(self.texts)} @@@ {quoted(text_query(rng))}"
        one = rng.choice(self.columns).condition(rng)
        if rng.random() < 0.15:
            return f"({one} OR {rng.choice(self.columns).condition(rng)})"
        return one


def text_query(rng: random.Random) -> str:
    form = rng.random()
    word = lambda: rng.choice(WORDS)  # noqa: E731
    if form < 0.45:
        return " ".join(word() for _ in range(rng.randint(1, 3)))
    if form < 0.6:
        return f'"{word()} {word()}"'
    if form < 0.75:
        return f"+{word()} {rng.choice(['', '-', '+'])}{word()}"
    if form < 0.85:
        return f"{word()[:2]}*"
    if form < 0.93:
        return f"-{word()} {word()}"
    return rng.choice(["", "-", "the", '"', "+", "*", "nothingofthis"])


class Table:
    """Table `t` and its indexes."""

    def __init__(self, rng: random.Random):
        self.dim = rng.randint(2, 6)
        self.grid = rng.random() < 0.5
        kinds = rng.sample(SCALARS, rng.randint(2, 5)) + rng.sample(ARRAYS, rng.randint(0, 2))
        self.columns = [Column(f"a{i}", kind) for i, kind in enumerate(kinds)]
        fillfactor = rng.choice([50, 80, 100])
        definitions = ["id int8 PRIMARY KEY", "grp int4", "note text", f"v vector({self.dim})", "body text", "title text"]
        definitions += [f"{c.name} {c.kind}" for c in self.columns]
        self.ddl = f"CREATE TABLE t ({', '.join(definitions)}) WITH (fillfactor = {fillfactor})"
        self.indexes = [Index(rng, f"t_idx{i}", self) for i in range(rng.choice([1, 1, 2]))]
        # changing one of these is HOT where the page has room
        indexed = " ".join(index.ddl for index in self.indexes)
        self.plain = [name for name in ("grp", "note") if name not in indexed]
        self.names = ["id", "grp", "note", "v", "body", "title", *(c.name for c in self.columns)]

    def vector(self, rng: random.Random, zero=0.05) -> str:
        if rng.random() < zero:
            return "[" + ",".join("0" * self.dim) + "]"
        while True:
            if self.grid:
                values = [rng.randint(-2, 2) for _ in range(self.dim)]
            else:
                values = [round(rng.uniform(-1, 1), 3) * rng.choice([1, 1, 1, 1, 10]) for _ in range(self.dim)]
            if any(values):
                return "[" + ",".join(map(str, values)) + "]"

    def value(self, rng: random.Random, name: str) -> str:
        if name == "grp":
            return rng.choice(["NULL", *map(str, range(9))])
        if name == "note":
            return rng.choice(["NULL", "'a'", "'ab'", "'B'", "'c'"])
        if name == "v":
            return "NULL" if rng.random() < 0.12 else quoted(self.vector(rng))
        if name in ("body", "title"):
            return "NULL" if rng.random() < 0.15 else quoted(words(rng))
        return next(c for c in self.columns if c.name == name).value(rng)

    def row(self, rng: random.Random, id_: int) -> str:
        return f"({', '.join([str(id_), *(self.value(rng, name) for name in self.names[1:])])})"

    def assignments(self, rng: random.Random) -> str:
        names = self.plain if self.plain and rng.random() < 0.4 else self.names[1:]
        return ", ".join(f"{name} = {self.value(rng, name)}" for name in rng.sample(names, min(len(names), rng.randint(1, 3))))
