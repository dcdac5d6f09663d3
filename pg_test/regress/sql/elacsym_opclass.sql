-- the SQL objects of the access method: operator classes, text operators, bm25query, replace_hnsw
SET client_min_messages = warning;
CREATE EXTENSION elacsym CASCADE;
RESET client_min_messages;

-- operator classes; pgvector's halfvec, where it exists, is in cluster/test_text_operators.py
SELECT n.nspname AS schema, opcname AS class, opcintype::regtype AS type, opcdefault AS default, f.opfname AS family,
       (SELECT string_agg(amprocnum || ' ' || amproc, ', ' ORDER BY amprocnum) FROM pg_amproc
         WHERE amprocfamily = f.oid AND amproclefttype = opcintype AND amprocrighttype = opcintype) AS functions
  FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod JOIN pg_namespace n ON n.oid = opcnamespace JOIN pg_opfamily f ON f.oid = opcfamily
 WHERE amname = 'elacsym' AND opcname !~ 'halfvec' ORDER BY opcname COLLATE "C";
SELECT f.opfname AS family, amopstrategy AS strategy, amopopr::regoperator AS operator, amoppurpose AS purpose, s.opfname AS sorted_by
  FROM pg_amop JOIN pg_am a ON a.oid = amopmethod JOIN pg_opfamily f ON f.oid = amopfamily LEFT JOIN pg_opfamily s ON s.oid = amopsortfamily
 WHERE amname = 'elacsym' AND f.opfname !~ 'halfvec' AND f.opfname !~ '^(float|date|timestamp|timestamptz|uuid|numeric)_ops$'
 ORDER BY f.opfname COLLATE "C", amopstrategy, amopopr::regoperator::text COLLATE "C";
-- the families that are left out above have all six comparisons of each pair of types
SELECT f.opfname AS family, count(DISTINCT (amoplefttype, amoprighttype)) AS pairs, count(*) AS operators
  FROM pg_amop JOIN pg_am a ON a.oid = amopmethod JOIN pg_opfamily f ON f.oid = amopfamily
 WHERE amname = 'elacsym' AND f.opfname ~ '^(integer|float|date|timestamp|timestamptz|uuid|numeric|text|bool)_ops$' GROUP BY f.opfname ORDER BY f.opfname COLLATE "C";
-- strategies 1 to 6 are the operators they should be, in every family
SELECT DISTINCT amopstrategy AS strategy, oprname AS operator
  FROM pg_amop JOIN pg_am a ON a.oid = amopmethod JOIN pg_operator o ON o.oid = amopopr
 WHERE amname = 'elacsym' AND amoppurpose = 's' ORDER BY amopstrategy;

-- everything that statements name is found without a schema, wherever vector is
SET search_path = public;
CREATE TABLE docs (id bigint PRIMARY KEY, body text, title varchar(40), embedding vector(2), year int);
CREATE INDEX docs_search ON docs USING elacsym (embedding vector_cosine_ops, body bm25_ops, title bm25_ops (language = 'german', stemming = false), year);
SELECT pg_get_indexdef('docs_search'::regclass);
RESET search_path;

-- wrong options
CREATE INDEX wrong ON docs USING elacsym (body bm25_ops (language = 'klingon'));
CREATE INDEX wrong ON docs USING elacsym (body bm25_ops (languages = 'german'));
CREATE INDEX wrong ON docs USING elacsym (body bm25_ops (stemming = 'perhaps'));
CREATE INDEX wrong ON docs USING elacsym (body bm25_ops (k1 = -1));
CREATE INDEX wrong ON docs USING elacsym (body bm25_ops (b = 1.5));
CREATE INDEX wrong ON docs USING elacsym (body bm25_ops (weight = 'heavy'));
-- PostgreSQL 18 names the schema in this message
\set VERBOSITY sqlstate
CREATE INDEX wrong ON docs USING elacsym (year int4_ops (language = 'german'));
CREATE INDEX wrong ON docs USING elacsym (embedding vector_l2_ops (language = 'german'));
\set VERBOSITY default
CREATE INDEX wrong ON docs USING elacsym (year bm25_ops);
CREATE INDEX wrong ON docs USING elacsym (embedding);
CREATE INDEX right_case ON docs USING elacsym (body bm25_ops (language = 'GERMAN'));
DROP INDEX right_case;

-- bm25query: text in and out
SELECT '{"query": "hybrid \"search\"", "index": "docs_search", "column": 2}'::elacsym.bm25query;
SELECT elacsym.bm25query('words', 'docs_search', 3);
SELECT elacsym.bm25query('words', 'docs_search', 3)::text::elacsym.bm25query::text = elacsym.bm25query('words', 'docs_search', 3)::text AS same;
SELECT elacsym.bm25query(NULL, 'docs_search', 3) IS NULL AS null_query, elacsym.bm25query('x', NULL) IS NULL AS null_index;
SELECT elacsym.bm25query('words', 'docs_search');
SELECT elacsym.bm25query('words', 'docs_search', 1);
SELECT elacsym.bm25query('words', 'docs_search', 5);
SELECT elacsym.bm25query('words', 'docs_pkey');
SELECT elacsym.bm25query('words', 'docs');
SELECT elacsym.bm25query('words', 4294967295::oid);
SELECT 'words'::elacsym.bm25query;
SELECT '{"query": "x"}'::elacsym.bm25query;
SELECT '{"query": "x", "index": "docs_search", "columm": 2}'::elacsym.bm25query;
SELECT '{"query": "x", "index": "docs_search", "column": 2.5}'::elacsym.bm25query;
SELECT '{"query": "x", "index": "no_such_index"}'::elacsym.bm25query;
SELECT length(elacsym.bm25query(repeat('x', 70000), 'docs_search', 2)::text);

-- the planner puts the index into the query: for constants, parameters, expressions below, and only where there is one
EXPLAIN (COSTS OFF, VERBOSE) SELECT id FROM docs WHERE body @@@ 'words' AND year <> 7;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF, VERBOSE) SELECT id, title <@> 'words' AS distance FROM docs WHERE title @@@ 'words' OR id = 1;
PREPARE by_words (text) AS SELECT id FROM docs WHERE body @@@ $1;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF, VERBOSE) EXECUTE by_words ('words');
RESET plan_cache_mode;
EXPLAIN (COSTS OFF, VERBOSE) SELECT id FROM docs WHERE lower(body) @@@ 'words';
CREATE VIEW barrier WITH (security_barrier) AS SELECT id, body FROM docs WHERE year > 0;
EXPLAIN (COSTS OFF, VERBOSE) SELECT id FROM barrier WHERE body @@@ 'words';
EXPLAIN (COSTS OFF, VERBOSE) SELECT d.id FROM docs d LEFT JOIN docs e ON e.id = d.id + 1 WHERE e.body @@@ d.title;
RESET enable_indexscan;
RESET enable_bitmapscan;

-- without an index: matches with default options, has no distance
CREATE TABLE plain (body text);
INSERT INTO plain VALUES ('Running databases'), ('a ship'), (NULL);
SELECT body, body @@@ 'database' AS matches, body @@@ 'ran -ship' AS ran FROM plain;
SELECT body <@> 'database' FROM plain;
SELECT NULL::text @@@ 'x' IS NULL AS null_text, 'x'::text @@@ NULL IS NULL AS null_query;

-- other people's tables tell nothing
CREATE ROLE regress_elacsym_reader;
SET ROLE regress_elacsym_reader;
SELECT elacsym.bm25query('words', 'docs_search', 2);
RESET ROLE;
GRANT SELECT (id) ON docs TO regress_elacsym_reader;
SET ROLE regress_elacsym_reader;
SELECT elacsym.bm25query('words', 'docs_search', 2);
RESET ROLE;
DROP OWNED BY regress_elacsym_reader;
DROP ROLE regress_elacsym_reader;

-- replace_hnsw
SHOW elacsym.replace_hnsw;
SET elacsym.replace_hnsw = on;
CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX IF NOT EXISTS docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops);
CREATE INDEX CONCURRENTLY docs_ivfflat ON docs USING ivfflat (embedding) WITH (lists = 100);
DO $$ BEGIN FOR i IN 1..2 LOOP EXECUTE format('CREATE INDEX docs_do_%s ON docs USING hnsw (embedding vector_ip_ops)', i); END LOOP; END $$;
CREATE FUNCTION create_twice() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..2 LOOP
        CREATE INDEX docs_twice ON docs USING hnsw (embedding vector_l2_ops);
        DROP INDEX docs_twice;
    END LOOP;
END $$;
SELECT create_twice();
CREATE INDEX docs_btree ON docs USING btree (year);
SELECT c.relname, amname, pg_get_indexdef(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = relam
 WHERE relname ~ '^docs_(hnsw|ivfflat|do|btree)' ORDER BY relname COLLATE "C";
DROP TABLE docs CASCADE;
