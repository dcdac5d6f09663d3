"""Text through SQL: options and tokenizers of indexes and namespaces, the query language in all its places, and the functions that
show how texts and queries are understood."""

import json
import random

import psycopg
import pytest

pytestmark = pytest.mark.every_pg

# two forms of a word that have one stem, and a stop word
LANGUAGES = {
    "arabic": ("الكتاب", "كتاب", "من"),
    "danish": ("husene", "huset", "og"),
    "dutch": ("boeken", "boek", "het"),
    "english": ("running", "runs", "the"),
    "finnish": ("talossa", "talot", "ja"),
    "french": ("livres", "livre", "dans"),
    "german": ("häuser", "haus", "und"),
    "greek": ("δρόμους", "δρόμος", "και"),
    "hungarian": ("házak", "ház", "és"),
    "italian": ("libri", "libro", "della"),
    "norwegian": ("husene", "huset", "og"),
    "portuguese": ("livros", "livro", "para"),
    "romanian": ("lucrători", "lucrător", "pentru"),
    "russian": ("книги", "книга", "что"),
    "spanish": ("libros", "libro", "para"),
    "swedish": ("husen", "huset", "och"),
    "tamil": ("புத்தகங்கள்", "புத்தகம்", "என்று"),
    "turkish": ("evler", "ev", "için"),
}

TEXTS = [
    "Running databases on object storage",
    "The runner ran home to the database",
    "A database of ships; the ship's database ran aground",
    "postgres hybrid search",
    "Postgres search, hybrid or not",
    "searching for hybrids in postgres, postgres and more postgres",
    "wi-fi and getUserName() in Café Zürich",
    "東京都で日本語を検索",
    "the and of",
    "",
]
TITLES = ["storage", "ships", "ships at sea", "hybrid search", "postgres", None, "source code", "東京", "nothing", "empty"]

QUERIES = [
    "database", "run databases", "+postgres search", "postgres -search", '"hybrid search"', '"search hybrid"~2', "hyb*", "postgers~1 sihps~2",
    "+(ships hybrid) -aground", "postgres^3 storage", "(postgres search)^2 -not", "-postgres", "wi-fi", "getUserName", "日本語", "café", "the", "", "((((", '"', "+", "a^2^3 ~1 *",
]

OPTIONS = {
    "default": {},
    "german": {"language": "german", "stemming": False},
    "whitespace": {"tokenizer": "whitespace", "ascii_folding": True},
    "raw": {"tokenizer": "raw", "case_sensitive": True},
    "ngram": {"tokenizer": "ngram(2,3)", "max_token_length": 12},
    "source_code": {"tokenizer": "source_code", "k1": 0.9, "b": 0.3},
    "cjk": {"tokenizer": "cjk", "ascii_folding": True},
}


def error(conn, sql, params=()):
    with pytest.raises(psycopg.Error) as caught, conn.transaction():
        conn.execute(sql, params)
    return caught.value.sqlstate, caught.value.diag.message_primary, caught.value.diag.message_hint


def bm25(options):
    """The options of bm25_ops; they say `stopwords` where schemas say `remove_stopwords`."""
    words = [f"{'stopwords' if k == 'remove_stopwords' else k} = {json.dumps(v) if not isinstance(v, str) else repr(v)}" for k, v in options.items()]
    return f"({', '.join(words)})" if words else ""


def namespace(conn, options, name="ns"):
    full_text = {"type": "string", "full_text": options or True}
    conn.execute("SELECT elacsym.create_namespace(%s, %s)", [name, json.dumps({"attributes": {"title": full_text, "body": full_text}})])


def upsert(conn, ids, name="ns"):
    documents = [{"id": i, "attributes": {k: v for k, v in (("title", TITLES[i]), ("body", TEXTS[i])) if v is not None}} for i in ids]
    conn.execute("SELECT elacsym.upsert(%s, %s::jsonb)", [name, json.dumps(documents)])


def same(a, b):
    """The same rows with scores that are equal to 1e-5."""
    return a.keys() == b.keys() and all(abs(a[i] - b[i]) <= 1e-5 * max(1, abs(a[i])) for i in a)


def of_namespace(conn, query, operator="or", name="ns"):
    if not query.strip():
        return {}
    full_text = json.dumps({"query": query, "operator": operator})
    rows = conn.execute("SELECT id, score FROM elacsym.query(%s, full_text => %s::jsonb, top_k => 100)", [name, full_text]).fetchall()
    return dict(rows)


def of_index(conn, query, operator="or"):
    rows = conn.execute(
        "SELECT d.id, s.score FROM elacsym.search('docs_search', query_text => %s, operator => %s, k => 100) s JOIN docs d ON d.ctid = s.ctid", [query, operator]
    )
    return dict(rows.fetchall())


@pytest.mark.parametrize("options", OPTIONS)
def test_scores_are_the_same_buffered_and_flushed_in_an_index_and_a_namespace(conn, options):
    options = OPTIONS[options]
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, title text, body text)")
    conn.execute(f"CREATE INDEX docs_search ON docs USING elacsym (title bm25_ops {bm25(options)}, body bm25_ops {bm25(options)}) WITH (flush_interval = 3600000)")
    namespace(conn, options)
    for i, (title, body) in enumerate(zip(TITLES, TEXTS)):
        conn.execute("INSERT INTO docs VALUES (%s, %s, %s)", [i, title, body])
    upsert(conn, range(len(TEXTS)))
    asked = [(q, o) for q in [*QUERIES, "title:ships body:database", "title:(postgres -code)"] for o in ("or", "and")]
    buffered = [(of_index(conn, q, o), of_namespace(conn, q, o)) for q, o in asked]
    for (query, operator), (index, ns) in zip(asked, buffered):
        if query.strip():
            assert same(index, ns), (query, operator)
    assert any(found for found, _ in buffered)
    conn.execute("SELECT elacsym.flush('docs_search'), elacsym.flush('ns')")
    for (query, operator), (index, ns) in zip(asked, buffered):
        assert same(of_index(conn, query, operator), index) and same(of_namespace(conn, query, operator), ns), (query, operator)
    # written once more: another segment, and the buffer; dead rows count until compaction, so only which rows match is the same
    upsert(conn, [1, 3, 5])
    conn.execute("SELECT elacsym.flush('ns')")
    upsert(conn, [2])
    for (query, operator), (_, ns) in zip(asked, buffered):
        assert of_namespace(conn, query, operator).keys() == ns.keys(), (query, operator)


def test_operators_filters_and_searches_speak_one_language(conn):
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, body text)")
    for i, body in enumerate(TEXTS):
        conn.execute("INSERT INTO docs VALUES (%s, %s)", [i, body])
    conn.execute("CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
    conn.execute("SELECT elacsym.create_namespace('ns', '{\"attributes\": {\"body\": {\"type\": \"string\", \"full_text\": true}}}')")
    for i, body in enumerate(TEXTS):
        conn.execute("SELECT elacsym.upsert('ns', %s, NULL, %s)", [i, json.dumps({"body": body})])
    for query in [*QUERIES, "body:ships"]:
        filter = json.dumps({"field": "body", "op": "match", "value": query})
        matches = {i for (i,) in conn.execute("SELECT id FROM docs WHERE body @@@ %s", [query])}
        searched = dict(conn.execute("SELECT d.id, s.score FROM elacsym.search('docs_search', query_text => %s, k => 100) s JOIN docs d ON d.ctid = s.ctid", [query]).fetchall())
        assert matches == set(searched), query
        if query.strip():
            assert matches == {i for (i,) in conn.execute("SELECT id FROM elacsym.query('ns', full_text => %s::jsonb, top_k => 100)", [json.dumps(query)])}, query
            assert matches == {i for (i,) in conn.execute("SELECT id FROM elacsym.query('ns', full_text => '\"-zanzibar\"', filter => %s::jsonb, top_k => 100)", [filter])}, query
        for how in ("on", "off"):
            conn.execute(f"SET enable_seqscan = {how}; SET enable_indexscan = {'off' if how == 'on' else 'on'}")
            distances = dict(conn.execute("SELECT id, body <@> %s FROM docs ORDER BY body <@> %s", [query, query]).fetchall())
            assert {i: -d for i, d in distances.items() if i in matches} == pytest.approx(searched, abs=1e-5), query
            assert all(d == 0 for i, d in distances.items() if i not in matches), query
        conn.execute("RESET enable_seqscan; RESET enable_indexscan")


def test_scores_over_partitions_are_those_of_one_table(conn):
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, body text); CREATE TABLE parts (id int, body text) PARTITION BY RANGE (id)")
    for n in range(4):
        conn.execute(f"CREATE TABLE parts_{n} PARTITION OF parts FOR VALUES FROM ({n * 3}) TO ({n * 3 + 3})")
    for table in ("docs", "parts"):
        for i, body in enumerate(TEXTS):
            conn.execute(f"INSERT INTO {table} VALUES (%s, %s)", [i, body])
        conn.execute(f"CREATE INDEX {table}_search ON {table} USING elacsym (body bm25_ops)")
    conn.execute("SET enable_seqscan = off")
    for query in QUERIES:
        of = [dict(conn.execute(f"SELECT id, body <@> %s FROM {table} ORDER BY body <@> %s", [query, query]).fetchall()) for table in ("docs", "parts")]
        assert same(*of), query


def test_the_operator_joins_words(conn):
    namespace(conn, {})
    upsert(conn, range(len(TEXTS)))
    ids = lambda **full_text: sorted(i for (i,) in conn.execute("SELECT id FROM elacsym.query('ns', full_text => %s::jsonb)", [json.dumps(full_text)]))  # noqa: E731
    assert ids(query="hybrid storage") == [0, 3, 4, 5]
    assert ids(query="hybrid storage", operator="and") == []
    # each word in any of the fields
    assert ids(query="database ships", operator="and") == [1, 2]
    assert ids(query="database ships", operator="and", field="body") == [2]
    assert error(conn, "SELECT elacsym.query('ns', full_text => '{\"query\": \"x\", \"operator\": \"xor\"}')") == ("22023", 'operator "xor" is not known', "Operators: or, and.")
    assert error(conn, "SELECT elacsym.query('ns', full_text => '{\"query\": \"x\", \"operator\": 1}')")[0] == "22023"
    conn.execute("CREATE TABLE docs (id int, body text); CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
    assert error(conn, "SELECT elacsym.search('docs_search', query_text => 'x', operator => 'AND')")[1] == 'operator "AND" is not known'


def test_wrong_text_options_are_errors(conn):
    conn.execute("CREATE TABLE docs (id int, body text)")
    for options, message in [
        ("tokenizer = 'latin'", 'tokenizer "latin" is not known'),
        ("tokenizer = 'ngram(3,2)'", "n-gram lengths from 3 to 2 are not between 1 and 16"),
        ("tokenizer = 'ngram(1,9)'", "n-gram lengths from 1 to 9 are more than 4 lengths"),
        ("max_token_length = 9000", 'value 9000 out of bounds for option "max_token_length"'),
        ("max_token_length = -1", 'value -1 out of bounds for option "max_token_length"'),
        ("ascii_folding = 'maybe'", 'invalid value for boolean option "ascii_folding": maybe'),
    ]:
        assert error(conn, f"CREATE INDEX ON docs USING elacsym (body bm25_ops ({options}))")[1] == message
    for options, message in [
        ({"tokenizer": "latin"}, 'tokenizer "latin" is not known (attribute "body")'),
        ({"tokenizer": {"ngram": {"min": 0, "max": 2}}}, 'n-gram lengths from 0 to 2 are not between 1 and 16 (attribute "body")'),
        ({"tokenizer": {"ngram": {"min": 1}}}, '"tokenizer" of attribute "body" needs an integer "max" for n-grams, not null'),
        ({"tokenizer": "raw", "stemming": True}, '"stemming" of attribute "body" cannot be true with tokenizer "raw", whose tokens are no words'),
        ({"max_token_length": 0}, '"max_token_length" of attribute "body" must be an integer from 1 to 8192, not 0'),
        ({"ascii_folding": "yes"}, '"ascii_folding" of attribute "body" must be true or false, not a string'),
        ({"language": "klingon"}, 'language "klingon" of attribute "body" is not known'),
    ]:
        schema = json.dumps({"attributes": {"body": {"type": "string", "full_text": options}}})
        assert error(conn, "SELECT elacsym.create_namespace('wrong', %s)", [schema])[1] == message


def tokens(conn, call, params=()):
    return [row[0] for row in conn.execute(f"SELECT token FROM elacsym.analyze({call})", params)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_stems_and_has_stop_words_and_both_can_be_switched_off(conn, language):
    a, b, stop_word = LANGUAGES[language]
    text = f"{a} {stop_word} {b}"
    found = tokens(conn, "%s, %s", [text, language])
    assert len(found) == 2 and found[0] == found[1]
    assert tokens(conn, "%s, language => %s, stemming => false", [text, language]) == [a, b]
    assert tokens(conn, "%s, language => %s, stemming => false, stopwords => false", [text, language]) == [a, stop_word, b]
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, stemmed text, plain text)")
    conn.execute("INSERT INTO docs VALUES (1, %s, %s)", [f"{stop_word} {a}", f"{stop_word} {a}"])
    conn.execute(f"CREATE INDEX docs_search ON docs USING elacsym (stemmed bm25_ops (language = '{language}'), plain bm25_ops (language = '{language}', stemming = false, stopwords = false))")
    found = lambda column, query: conn.execute(f"SELECT count(*) FROM docs WHERE {column} @@@ %s", [query]).fetchone()[0]  # noqa: E731
    assert [found("stemmed", query) for query in (a, b, stop_word)] == [1, 1, 0]
    assert [found("plain", query) for query in (a, b, stop_word)] == [1, 0, 1]


def test_analyze_shows_tokens_of_options_and_of_fields(conn):
    rows = conn.execute("SELECT * FROM elacsym.analyze('The Café''s runners')").fetchall()
    assert rows == [(1, "café", 4, 8), (2, "s", 9, 10), (3, "runner", 11, 18)]
    assert [d.name for d in conn.execute("SELECT * FROM elacsym.analyze('x')").description] == ["position", "token", "start_offset", "end_offset"]
    assert tokens(conn, "'getUserName x', tokenizer => 'source_code'") == ["getusername", "get", "user", "name", "x"]
    assert tokens(conn, "'Über', tokenizer => 'ngram(2,2)', ascii_folding => true, case_sensitive => true") == ["Ub", "be", "er"]
    assert tokens(conn, "'New York', tokenizer => 'raw'") == ["new york"]
    assert tokens(conn, "'long longer longest', max_token_length => 5, stemming => false") == ["long"]
    assert tokens(conn, "''") == []
    assert tokens(conn, "'x', NULL, NULL, NULL, NULL, NULL, NULL, NULL") == ["x"]
    namespace(conn, {"tokenizer": "cjk"})
    assert tokens(conn, "'ns', 'body', '日本語 Text'") == ["日本", "本語", "text"]
    conn.execute("CREATE TABLE docs (id int, body text); CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops (stemming = false))")
    assert tokens(conn, "'docs_search', 'body', 'the runners'") == ["runners"]
    assert tokens(conn, "'public.docs_search', 'body', 'the runners'") == ["runners"]
    for call, sqlstate, message in [
        ("NULL::text", "22004", 'argument "text" must not be null'),
        ("'x', 'klingon'", "22023", 'language "klingon" is not known'),
        ("'x', tokenizer => 'klingon'", "22023", 'tokenizer "klingon" is not known'),
        ("'x', tokenizer => 'raw', stemming => true", "22023", '"stemming" cannot be true with tokenizer "raw", whose tokens are no words'),
        ("'x', max_token_length => 0", "22003", '"max_token_length" must be from 1 to 8192, not 0'),
        ("'nothing', 'body', 'x'", "42704", '"nothing" is neither a namespace nor an index'),
        ("'ns', 'year', 'x'", "42704", 'full-text field "year" of "ns" does not exist'),
        ("'ns', NULL, 'x'", "22023", '"ns" has several full-text fields'),
        ("'docs', 'body', 'x'", "22023", '"docs" is not an elacsym index'),
        ("repeat('x ', 600000)", "22003", "text of 1200000 bytes is longer than 1048576"),
    ]:
        assert error(conn, f"SELECT elacsym.analyze({call})")[:2] == (sqlstate, message)


def test_parse_query_shows_how_a_query_is_understood(conn):
    parse = lambda *arguments: conn.execute(f"SELECT elacsym.parse_query({', '.join(['%s'] * len(arguments))})", arguments).fetchone()[0]  # noqa: E731
    namespace(conn, {})
    conn.execute("CREATE TABLE docs (id int, body text); CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
    assert parse("docs_search", '+Running -"hybrid search"~2 dat*^2 body:x') == {
        "query": '+Running -"hybrid search"~2 dat*^2 body:x',
        "operator": "or",
        "understood": {"bool": {
            "must": [{"term": {"value": "run"}}],
            "must_not": [{"phrase": {"slop": 2, "terms": [{"position": 0, "value": "hybrid"}, {"position": 1, "value": "search"}]}}],
            "should": [
                {"prefix": {"value": "dat", "word": "dat", "boost": 2.0}},
                {"bool": {"should": [{"term": {"value": "bodi"}}, {"term": {"value": "x"}}]}},
            ],
        }},
    }
    assert parse("ns", "title:Ships")["understood"] == {"term": {"field": "title", "value": "ship"}}
    assert parse("ns", "wi-fi", "and", "title")["understood"]["phrase"]["slop"] == 0
    assert parse("ns", "red ships", "and", "title")["understood"] == {"bool": {"must": [{"term": {"value": "red"}}, {"term": {"value": "ship"}}]}}
    assert parse("ns", "the") == {"query": "the", "operator": "or", "understood": {"match_none": {}}}
    for call, sqlstate, message in [
        ("'ns', NULL", "22004", 'argument "query" must not be null'),
        ("'nothing', 'x'", "42704", '"nothing" is neither a namespace nor an index'),
        ("'ns', 'x', 'nor'", "22023", 'operator "nor" is not known'),
        ("'ns', 'x', field => 'y'", "42704", 'full-text field "y" of "ns" does not exist'),
        ("'ns', repeat('x', 70000)", "22003", "query text of 70000 bytes is longer than 65536"),
    ]:
        assert error(conn, f"SELECT elacsym.parse_query({call})")[:2] == (sqlstate, message)
    conn.execute("SELECT elacsym.create_namespace('numbers', '{\"attributes\": {\"n\": \"int\"}}')")
    assert error(conn, "SELECT elacsym.parse_query('numbers', 'x')")[1] == '"numbers" has no full-text field'


def test_no_text_is_a_syntax_error(conn):
    namespace(conn, {})
    upsert(conn, range(len(TEXTS)))
    random.seed(7)
    pieces = ["+", "-", '"', "(", ")", "*", "~", "~1", "~2", "^", "^2", ":", "title:", "body:", " ", " ", "a", "the", "search", "hybrid", "日本", "é", "\\", "'", "\t", "%", "🙂", "\u0301", "\x7f"]
    texts = ["".join(random.choice(pieces) for _ in range(random.randint(0, 25))) for _ in range(2000)]
    count, objects = conn.execute(
        "SELECT count(*), count(*) FILTER (WHERE jsonb_typeof(elacsym.parse_query('ns', q)) = 'object') FROM unnest(%s::text[]) q", [texts]
    ).fetchone()
    assert count == objects == 2000
    found = conn.execute("SELECT count(*) FROM unnest(%s::text[]) q, elacsym.query('ns', full_text => to_jsonb(q)) WHERE btrim(q, E' \\t') <> ''", [[t for t in texts[:200] if t.strip()]]).fetchone()[0]
    assert found > 0


def test_highlight_marks_what_a_query_finds(conn):
    one = lambda call, params=(): conn.execute(f"SELECT elacsym.highlight({call})", params).fetchone()[0]  # noqa: E731
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, body text, code text)")
    long = "lorem ipsum dolor sit amet " * 20
    conn.execute("INSERT INTO docs VALUES (1, 'Runners were running; Hybrid searches <here>', 'getUserName'), (2, NULL, NULL)")
    conn.execute("CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops, code bm25_ops (tokenizer = 'source_code'))")
    row = "SELECT elacsym.highlight('docs_search', ctid, {}) FROM docs WHERE id = {}"
    assert conn.execute(row.format("'run \"hybrid search\"', 'body'", 1)).fetchone()[0] == ["Runners were <b>running</b>; <b>Hybrid</b> <b>searches</b> <here>"]
    assert conn.execute(row.format("'user_name', 'code', '[', ']'", 1)).fetchone()[0] == ["get[UserName]"]
    assert conn.execute(row.format("'code:run', 'body'", 1)).fetchone()[0] == []
    assert conn.execute(row.format("'run', 'body'", 2)).fetchone()[0] is None
    assert one("'docs_search', '(99,1)'::tid, 'run', 'body'") is None
    assert one("'docs_search', NULL::tid, 'run', 'body'") is None
    # a row this statement has changed is the new one at its new place, a version that is gone is none
    ctid = conn.execute("UPDATE docs SET body = 'changed run' WHERE id = 1 RETURNING ctid").fetchone()[0]
    assert one("'docs_search', %s::tid, 'run', 'body'", [ctid]) == ["changed <b>run</b>"]
    assert one("'docs_search', '(0,1)'::tid, 'run', 'body'") is None
    # together with search
    assert conn.execute(
        "SELECT elacsym.highlight('docs_search', s.ctid, 'run', 'body') FROM elacsym.search('docs_search', query_text => 'run') s"
    ).fetchall() == [(["changed <b>run</b>"],)]

    namespace(conn, {})
    assert one("'ns', 'two ships and a ship', 'ships', 'body', max_fragments => 0") == ["two <b>ships</b> and a <b>ship</b>"]
    assert one("'ns', 'two ships', 'title:ships', 'body'") == []
    assert one("'ns', NULL::text, 'ships', 'body'") is None
    text = f"{long}one ship {long}a ship in a storm {long}"
    assert one("'ns', %s, 'ship storm', 'body', '{', '}', 1, 30", [text]) == ["amet a {ship} in a {storm} lorem"]
    assert len(one("'ns', %s, 'ship storm', 'body', fragment_size => 40", [text])) == 2
    assert one("'ns', %s, 'ships', 'body', NULL, NULL, NULL, NULL", ["ship"]) == ["<b>ship</b>"]

    for call, sqlstate, message in [
        ("'ns', 'x', NULL, 'body'", "22004", 'argument "query" must not be null'),
        ("'ns', 'x', 'x'", "22023", '"ns" has several full-text fields'),
        ("'ns', 'x', 'x', 'body', max_fragments => -1", "22003", "max_fragments must be from 0 to 1000, not -1"),
        ("'ns', 'x', 'x', 'body', fragment_size => 1000000", "22003", "fragment_size must be from 0 to 100000, not 1000000"),
        ("'ns', 'x', 'x', 'body', start_tag => repeat('x', 101)", "22003", "start_tag of 101 bytes is longer than 100"),
        ("'ns', '(0,1)'::tid, 'x', 'body'", "22023", 'namespace "ns" has no rows with a ctid'),
        ("'nowhere', '(0,1)'::tid, 'x', 'body'", "42704", '"nowhere" is neither a namespace nor an index'),
    ]:
        assert error(conn, f"SELECT elacsym.highlight({call})")[:2] == (sqlstate, message)


def test_highlight_of_expressions_and_partitions(conn):
    conn.execute("CREATE TABLE docs (id int, body varchar(100), \"Odd Name\" text) PARTITION BY LIST (id)")
    conn.execute("CREATE TABLE docs_1 PARTITION OF docs FOR VALUES IN (1)")
    conn.execute("INSERT INTO docs VALUES (1, 'RUNNING', 'a run')")
    conn.execute("CREATE INDEX docs_search ON docs USING elacsym (lower(body) bm25_ops, \"Odd Name\" bm25_ops)")
    leaf, fields = conn.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'docs_1'::regclass").fetchone()[0], None
    assert conn.execute("SELECT elacsym.highlight(%s, ctid, 'run', 'Odd Name') FROM docs", [leaf]).fetchone()[0] == ["a <b>run</b>"]
    fields = conn.execute("SELECT elacsym.parse_query('docs_search', 'run')").fetchone()[0]["understood"]["bool"]["should"]
    expression = next(f["term"]["field"] for f in fields if f["term"]["field"] != "Odd Name")
    assert conn.execute("SELECT elacsym.highlight(%s, ctid, 'run', %s) FROM docs", [leaf, expression]).fetchone()[0] == ["<b>running</b>"]
    assert error(conn, "SELECT elacsym.highlight('docs_search', ctid, 'run', 'Odd Name') FROM docs")[1] == 'index "docs_search" is partitioned: a ctid names no row of it'


def test_privileges_and_policies_decide_what_is_shown(conn, db):
    bob = f"{db.name}_bob"
    conn.execute(f"CREATE ROLE {bob} LOGIN")
    try:
        conn.execute("CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs VALUES (1, 'public run'), (2, 'secret run')")
        conn.execute("CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
        namespace(conn, {})
        with db.cluster.connect(db.name, user=bob) as his:
            for call in ["parse_query('docs_search', 'x')", "analyze('docs_search', 'body', 'x')", "highlight('docs_search', 'x', 'x')", "highlight('docs_search', '(0,1)'::tid, 'x')"]:
                assert error(his, f"SELECT elacsym.{call}")[:2] == ("42501", 'permission denied for table "docs"')
            for call in ["parse_query('ns', 'x')", "analyze('ns', 'body', 'x')", "highlight('ns', 'x', 'x', 'body')"]:
                assert error(his, f"SELECT elacsym.{call}")[0] == "42501"
            conn.execute(f"GRANT SELECT ON docs TO {bob}")
            both = his.execute("SELECT elacsym.highlight('docs_search', '(0,1)'::tid, 'run'), elacsym.highlight('docs_search', '(0,2)'::tid, 'run')").fetchone()
            assert both == (["public <b>run</b>"], ["secret <b>run</b>"])
            conn.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON docs USING (body NOT LIKE 'secret%')")
            both = his.execute("SELECT elacsym.highlight('docs_search', '(0,1)'::tid, 'run'), elacsym.highlight('docs_search', '(0,2)'::tid, 'run')").fetchone()
            assert both == (["public <b>run</b>"], None)
    finally:
        conn.execute(f"DROP OWNED BY {bob}; DROP ROLE {bob}")
