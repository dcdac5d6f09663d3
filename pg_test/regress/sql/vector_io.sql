-- Text and binary input and output, the type modifier, storage.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA vector_io_test;
SET search_path = vector_io_test, public;
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

-- text in, text out: white space, signs, exponents, hexadecimal
SELECT text, text::vector AS vector FROM (VALUES
  ('[1,2,3]'), ('[-1,-2,-3]'), ('[1.,2.,3.]'), ('[.5,-.5,+.5]'), (' [ 1,  2 ,    3  ] '), (E'\t[\n1\r,\x0b2,\x0c3]\n'),
  ('[1e2,1E-2,1.5e+3]'), ('[0,-0,+0]'), ('[0x10,0x1p-1]'), ('[1e-50,-1e-50]'), ('[1e-45]')
) AS v(text);

-- the shortest text that reads back as the same float4
SELECT '[0.1,0.2,0.30000001,1.23456789,16777216,16777217,123456.789,3.4028235e38,-3.4028235e38,1.17549435e-38]'::vector;
SELECT '[1000000,9999999,10000000,1e15,1e16,0.0001,0.00001,0.000123456]'::vector;
SET extra_float_digits = -5;
SELECT '[0.123456789]'::vector;
RESET extra_float_digits;

-- text that is no vector
SELECT quote_literal(text) AS text, pg_temp.error_of(format('SELECT %L::vector', text)) AS error FROM (VALUES
  (''), (' '), ('['), ('[ '), ('[]'), ('[ ]'), ('[1'), ('[1,'), ('[1,2'), ('[1,]'), ('[1a]'), ('[,]'), ('[,1]'), ('[1,,3]'), ('[1, ,3]'),
  ('[1 2]'), ('[1,2,3]9'), ('[1,2,3]]'), ('[[1]]'), ('1,2,3'), ('{1,2,3}'), ('[1,2,3'), ('[a]'), ('["1"]'), ('[1;2]'), ('[1e]'), ('[0x]'), ('[--1]'), ('[+-1]'),
  ('[hello,1]'), ('[1,2,3] x'), ('x [1]'), ('[1_000]'), ('[1.2.3]'), ('[null]'), ('[NULL,1]')
) AS v(text);

-- elements that are no finite float4
SELECT text, pg_temp.error_of(format('SELECT %L::vector', text)) AS error FROM (VALUES
  ('[NaN]'), ('[nan,1]'), ('[-nan]'), ('[Infinity,1]'), ('[-Infinity]'), ('[inf]'), ('[INF]'), ('[+inf]'), ('[4e38,1]'), ('[-4e38,1]'), ('[1e400]'), ('[1,1e39]'), ('[infinit]')
) AS v(text);

-- the type modifier
SELECT '[1,2,3]'::vector(3), format_type('vector'::regtype, 3), format_type('vector'::regtype, -1);
SELECT type, pg_temp.error_of(format('SELECT %L::%s', '[1,2,3]', type)) AS error FROM (VALUES
  ('vector(3)'), ('vector(2)'), ('vector(4)'), ('vector(0)'), ('vector(-1)'), ('vector(16000)'), ('vector(16001)'), ('vector(3,2)'), ('vector(''a'')'), ('vector(99999999999)')
) AS v(type);
SELECT pg_temp.error_of($$SELECT '{[1,2,3]}'::vector(2)[]$$);
SELECT '{"[1,2,3]","[4,5,6]"}'::vector(3)[];

-- the largest vector, and one more
SELECT vector_dims(('[' || repeat('1,', 15999) || '1]')::vector);
SELECT pg_temp.error_of($$SELECT ('[' || repeat('1,', 16000) || '1]')::vector$$);

-- binary out
SELECT vector_send('[1,-2.5,3e-5]'), encode(vector_send('[0,-0]'), 'hex');

-- binary in and out, through a file format that has no text in it
CREATE TABLE vectors (id int, v vector(3), w vector);
INSERT INTO vectors VALUES (1, '[1,2,3]', '[1]'), (2, '[-0.1,1e-45,3.4028235e38]', '[1,2,3,4]'), (3, NULL, NULL);
SELECT pg_temp.error_of($$INSERT INTO vectors VALUES (4, '[1,2]', NULL)$$);
COPY vectors TO STDOUT;
COPY vectors FROM STDIN;
5	[7,8,9]	[0.5]
6	\N	[1, 2]
\.
COPY vectors FROM STDIN;
7	[7,8]	[0.5]
\.
SELECT * FROM vectors ORDER BY id;

-- values that move out of line, that are short, and that were altered to be compressed
INSERT INTO vectors SELECT 10 + n, NULL, array_agg(x * n)::vector FROM generate_series(1, 3) AS n, generate_series(1, 3000) AS x GROUP BY n;
SELECT id, vector_dims(w), vector_norm(w)::numeric(20, 2), pg_column_size(w) FROM vectors WHERE id > 10 ORDER BY id;
CREATE TABLE compressed (w vector);
ALTER TABLE compressed ALTER COLUMN w SET STORAGE extended;
INSERT INTO compressed SELECT ('[' || repeat('1,', 9999) || '2]')::vector;
SELECT pg_column_size(w) < 20000 AS is_compressed, vector_dims(w), inner_product(w, w), subvector(w, 9999, 9), w = (w || '[1]'), w = w FROM compressed;
INSERT INTO compressed SELECT w::vector(10000) FROM compressed;
SELECT count(*), count(DISTINCT w) FROM compressed;
SELECT typlen, typalign, typstorage, typtype, typbyval FROM pg_type WHERE oid = 'vector'::regtype;
DROP SCHEMA vector_io_test CASCADE;
