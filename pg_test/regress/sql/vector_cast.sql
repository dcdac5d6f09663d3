-- Casts between vector and arrays of numbers.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA vector_cast_test;
SET search_path = vector_cast_test, public;
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

SELECT ARRAY[1,2,3]::vector, ARRAY[1.0,2.0,3.0]::vector, ARRAY[1,2,3]::float4[]::vector, ARRAY[1,2,3]::float8[]::vector, ARRAY[1,2,3]::numeric[]::vector;
SELECT '{1,2,3}'::real[]::vector(3), '[1,2,3]'::vector::real[], '[1,2,3]'::vector::vector(3);
-- rounding to float4
SELECT ARRAY[16777217, 2147483647, -2147483648]::vector, ARRAY[0.1, 1e-46, 1.23456789]::float8[]::vector, ARRAY[0.1, 1.23456789]::numeric[]::vector;
-- lower bounds mean nothing
SELECT '[5:7]={1,2,3}'::int[]::vector;

SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error FROM (VALUES
  ('ARRAY[1,2,3]::vector(2)'), ('''{1,2,3}''::real[]::vector(4)'), ('''[1,2,3]''::vector::vector(2)'), ('''[1,2,3]''::vector(3)::vector(4)'),
  ('ARRAY[NULL]::int[]::vector'), ('''{1,NULL,3}''::real[]::vector'), ('''{NULL}''::numeric[]::vector'), ('''{}''::int[]::vector'), ('''{}''::real[]::vector'), ('''{}''::numeric[]::vector(2)'),
  ('ARRAY[[1,2],[3,4]]::vector'), ('''{{1.5}}''::float8[]::vector'), ('''{NaN}''::real[]::vector'), ('''{Infinity,1}''::real[]::vector'), ('''{-Infinity}''::float8[]::vector'), ('''{NaN}''::numeric[]::vector'),
  ('''{1e300}''::float8[]::vector'), ('''{1e39}''::numeric[]::vector'), ('(SELECT array_agg(1.5::real) FROM generate_series(1, 16001))::vector'), ('ARRAY[1::bigint]::vector'), ('''a''::text::vector'), ('ARRAY[''1'']::text[]::vector'),
  ('1::vector')
) AS v(expression);

-- arrays reach a column by assignment, not in an expression; vectors become real[] by themselves
CREATE TABLE casts (v vector(3));
INSERT INTO casts VALUES (ARRAY[1,2,3]), ('{4,5,6}'::real[]), (ARRAY[7.5,8.5,9.5]), ('[1,1,1]');
INSERT INTO casts SELECT ARRAY[x, x, x]::float8[] FROM generate_series(1, 2) AS x;
CREATE FUNCTION second(real[]) RETURNS real LANGUAGE sql AS 'SELECT $1[2]';
SELECT v, v::real[] AS elements, second(v) FROM casts ORDER BY casts.v;
SELECT pg_temp.error_of('INSERT INTO casts VALUES (ARRAY[1,2])');
SELECT pg_temp.error_of($$SELECT '[1,2,3]'::vector <-> ARRAY[1,2,3]$$);
SELECT '[1,2,3]'::vector <-> ARRAY[1,2,3]::vector AS distance;
SELECT unnest('[1,2,3]'::vector::real[]);
-- a change of the column's dimensions checks the rows
ALTER TABLE casts ALTER COLUMN v TYPE vector;
INSERT INTO casts VALUES ('[1,2]');
SELECT pg_temp.error_of('ALTER TABLE casts ALTER COLUMN v TYPE vector(3)');
DELETE FROM casts WHERE vector_dims(v) = 2;
ALTER TABLE casts ALTER COLUMN v TYPE vector(3);
ALTER TABLE casts ALTER COLUMN v TYPE real[];
ALTER TABLE casts ALTER COLUMN v TYPE vector(3);
SELECT count(*), format_type(atttypid, atttypmod) FROM casts, pg_attribute WHERE attrelid = 'casts'::regclass AND attname = 'v' GROUP BY 2;
-- untyped parameters, and parameters of a generic plan
SET plan_cache_mode = force_generic_plan;
PREPARE nearest AS SELECT v FROM casts ORDER BY v <-> $1, v LIMIT 2;
EXECUTE nearest('[4,5,6]');
EXECUTE nearest(ARRAY[7,8,9]);
DROP SCHEMA vector_cast_test CASCADE;
