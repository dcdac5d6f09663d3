-- avg and sum, and the functions behind them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA vector_aggregate_test;
SET search_path = vector_aggregate_test, public;
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

SELECT avg(v), sum(v), count(v) FROM unnest(ARRAY['[1,2,3]'::vector, '[3,5,7]']) AS v;
SELECT avg(v), sum(v), count(v) FROM unnest(ARRAY['[1,2,3]'::vector, NULL, '[3,5,7]', NULL]) AS v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1]'::vector]) AS v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[]::vector[]) AS v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[NULL, NULL]::vector[]) AS v;
-- the sum is taken in float8 and only the average must fit
SELECT avg(v) FROM unnest(ARRAY['[3e38]'::vector, '[3e38]']) AS v;
SELECT pg_temp.error_of($$SELECT sum(v) FROM unnest(ARRAY['[3e38]'::vector, '[3e38]']) AS v$$);
SELECT pg_temp.error_of($$SELECT avg(v) FROM unnest(ARRAY['[1,2]'::vector, '[3]']) AS v$$);
SELECT pg_temp.error_of($$SELECT sum(v) FROM unnest(ARRAY['[1,2]'::vector, '[3]']) AS v$$);
SELECT g, avg(v), sum(v) FROM (VALUES (1, '[1,2]'::vector), (2, '[5,6]'), (1, '[3,4]')) AS t(g, v) GROUP BY g ORDER BY g;
SELECT id, sum(v) OVER (ORDER BY id), avg(v) OVER (ORDER BY id) FROM (VALUES (1, '[1,2]'::vector), (2, '[5,6]'), (3, '[3,4]')) AS t(id, v);

SELECT vector_accum('{0}', '[1,2,3]'), vector_accum('{1,2,3,4}', '[1,2,3]'), vector_avg('{2,3,5,8}'), vector_avg('{0}'), vector_avg('{0,1}');
SELECT vector_combine('{0}', '{0}'), vector_combine('{0}', '{1,2,3}'), vector_combine('{1,2,3}', '{0}'), vector_combine('{1,2,3}', '{3,10,20}');
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error FROM (VALUES
  ('vector_accum(''{}'', ''[1]'')'), ('vector_accum(''{{0}}'', ''[1]'')'), ('vector_accum(''{NULL}'', ''[1]'')'), ('vector_accum(''{1,2}'', ''[1,2]'')'), ('vector_accum(''{1,1.7e308}'', ''[1]'')'),
  ('vector_avg(''{}'')'), ('vector_avg(''{1,NULL}'')'), ('vector_avg(''{1}'')'), ('vector_avg(''{1,1e300}'')'), ('vector_avg(''{1,NaN}'')'),
  ('vector_combine(''{}'', ''{0}'')'), ('vector_combine(''{0}'', ''{{1}}'')'), ('vector_combine(''{1,2}'', ''{1,2,3}'')'), ('vector_combine(''{1,1.7e308}'', ''{1,1.7e308}'')')
) AS v(expression);

-- the same in parallel
CREATE TABLE parts (v vector(3));
INSERT INTO parts SELECT ARRAY[i, i % 7, 1]::vector FROM generate_series(1, 5000) AS i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM parts;
SELECT avg(v), sum(v) FROM parts;
SET max_parallel_workers_per_gather = 0;
SELECT avg(v), sum(v) FROM parts;
DROP SCHEMA vector_aggregate_test CASCADE;
