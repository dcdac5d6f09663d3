-- The btree class: order, equality, uniqueness, and what needs them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA vector_btree_test;
SET search_path = vector_btree_test, public;
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

CREATE TABLE ordered (v vector);
INSERT INTO ordered VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL), ('[1]'), ('[1,1]'), ('[-1]'), ('[1,2,3]');
CREATE INDEX ordered_v ON ordered (v);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM ordered WHERE v = '[1,2,3]';
SELECT * FROM ordered WHERE v = '[1,2,3]';
SELECT * FROM ordered WHERE v > '[1]' AND v <= '[1,2,3]';
SELECT * FROM ordered ORDER BY v;
SELECT * FROM ordered ORDER BY v DESC NULLS LAST;
RESET enable_seqscan;
SELECT DISTINCT v FROM ordered ORDER BY v;
SELECT v, count(*) FROM ordered GROUP BY v ORDER BY v;
SELECT count(*) FROM ordered AS a JOIN ordered AS b USING (v);
SELECT v IN ('[1]', '[1,1]') AS is_in, v <> ALL ('{"[1]","[1,1]"}') AS is_out FROM ordered ORDER BY v;
SELECT min(v::text), max(v::text) FROM ordered;
CREATE UNIQUE INDEX ordered_once ON ordered (v);
CREATE TABLE once (v vector(2) PRIMARY KEY);
INSERT INTO once VALUES ('[1,2]'), ('[2,1]');
INSERT INTO once VALUES ('[1.0,2]');
INSERT INTO once VALUES ('[1,2]') ON CONFLICT (v) DO NOTHING;

-- many values out of line, compared and sorted
CREATE TABLE wide (id int, v vector);
INSERT INTO wide SELECT id, array_agg((id * 7919 + x) % 101)::vector FROM generate_series(1, 200) AS id, generate_series(1, 1000) AS x GROUP BY id;
SELECT count(*), count(DISTINCT v) FROM wide;
SELECT bool_and(v >= before) FROM (SELECT v, lag(v) OVER (ORDER BY v) AS before FROM wide) AS pairs;
CREATE INDEX ON wide ((subvector(v, 1, 3)));
SELECT id FROM wide WHERE subvector(v, 1, 3) = (SELECT subvector(v, 1, 3) FROM wide WHERE id = 42) ORDER BY id;
DROP SCHEMA vector_btree_test CASCADE;
