-- Distances, measures, arithmetic and comparisons. Values are chosen so that no result depends on the order of additions.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA vector_functions_test;
SET search_path = vector_functions_test, public;
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

SELECT l2_distance('[0,0]'::vector, '[3,4]'), l2_distance('[0,0]'::vector, '[0,1]'), '[0,0]'::vector <-> '[3,4]', vector_l2_squared_distance('[0,0]', '[3,4]');
SELECT inner_product('[1,2]'::vector, '[3,4]'), '[1,2]'::vector <#> '[3,4]', vector_negative_inner_product('[1,2]', '[3,4]'), vector_negative_inner_product('[1,0]', '[0,1]');
SELECT cosine_distance('[1,2]'::vector, '[2,4]'), cosine_distance('[1,1]'::vector, '[1,1]'), cosine_distance('[1,0]'::vector, '[0,2]'), cosine_distance('[1,1]'::vector, '[-1,-1]'), '[1,0]'::vector <=> '[-1,0]';
-- no direction, no angle
SELECT cosine_distance('[1,2]'::vector, '[0,0]'), cosine_distance('[0,0]'::vector, '[0,0]'), '[0]'::vector <=> '[0]';
-- never outside 0 to 2
SELECT cosine_distance('[1,1,1]'::vector, '[1.1,1.1,1.1]') BETWEEN 0 AND 1e-6, cosine_distance('[1,1,1]'::vector, '[-1.1,-1.1,-1.1]') BETWEEN 1.999 AND 2;
SELECT l1_distance('[0,0]'::vector, '[3,4]'), l1_distance('[1,-2,3]'::vector, '[-1,2,-3]'), '[0,0]'::vector <+> '[0,1]';
SELECT vector_spherical_distance('[1,0]', '[0,1]'), vector_spherical_distance('[1,0]', '[-1,0]'), vector_spherical_distance('[1,0]', '[1,0]'), vector_spherical_distance('[3,0]', '[3,0]');
-- beyond float4
SELECT l2_distance('[3e38]'::vector, '[-3e38]'), inner_product('[3e38]'::vector, '[3e38]'), cosine_distance('[1e-30,0]'::vector, '[1e-30,0]'), l1_distance('[3e38]'::vector, '[-3e38]');

-- lengths around and beyond the width of any vector register
SELECT n, x <-> y AS l2, x <#> y AS ip, x <+> y AS l1, (x <=> (y * y))::numeric(10, 6) AS cosine
FROM (VALUES (1), (2), (3), (4), (7), (8), (9), (15), (16), (17), (31), (32), (33), (63), (64), (65), (100), (16000)) AS dims(n),
  LATERAL (SELECT array_agg(i % 5)::vector AS x, array_agg(i % 3)::vector AS y FROM generate_series(1, n) AS i) AS v ORDER BY n;

SELECT vector_dims('[1,2,3]'::vector), vector_norm('[3,4]'), vector_norm('[0,1]'), vector_norm('[3e37,4e37]')::real, vector_norm('[0,0]'), vector_norm('[2]');
SELECT l2_normalize('[3,4]'::vector), l2_normalize('[3,0]'::vector), l2_normalize('[0,0.1]'::vector), l2_normalize('[0,0]'::vector), l2_normalize('[3e38]'::vector), l2_normalize('[1e-45]'::vector);
SELECT subvector('[1,2,3,4,5]'::vector, 1, 3), subvector('[1,2,3,4,5]'::vector, 3, 2), subvector('[1,2,3,4,5]'::vector, 5, 1), subvector('[1,2,3,4,5]'::vector, 3, 9), subvector('[1,2,3,4,5]'::vector, -1, 3), subvector('[1,2,3,4,5]'::vector, -5, 2147483647), subvector('[1,2,3]'::vector, 2, 2147483647);
SELECT arguments, pg_temp.error_of(format('SELECT subvector(''[1,2,3,4,5]''::vector, %s)', arguments)) AS error FROM (VALUES
  ('1, 0'), ('3, 0'), ('6, 1'), ('7, 2'), ('1, -1'), ('0, 1'), ('-1, 2'), ('-2147483648, 2147483647'), ('2147483647, 2147483647'), ('2147483647, 1'), ('0, 2')
) AS v(arguments);
SELECT binary_quantize('[1,0,-1]'::vector), binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'::vector), binary_quantize('[1,2,3,4,5,6,7,8]'::vector), length(binary_quantize('[1,2,3,4,5,6,7,8,9]'::vector)), pg_typeof(binary_quantize('[1]'::vector));
SELECT binary_quantize('[1,-1,0]'::vector)::bit(3), binary_quantize('[1e-45,-0]'::vector);

SELECT '[1,2,3]'::vector + '[4,5,6]', '[1,2,3]'::vector - '[4,5,6]', '[1,2,3]'::vector * '[4,5,6]', '[1,2,3]'::vector || '[4,5]';
SELECT vector_dims(('[' || repeat('1,', 7999) || '1]')::vector || ('[' || repeat('1,', 7999) || '1]')::vector);
SELECT expression, pg_temp.error_of('SELECT ' || expression) AS error FROM (VALUES
  ('''[3e38]''::vector + ''[3e38]'''), ('''[-3e38]''::vector - ''[3e38]'''), ('''[1e37]''::vector * ''[1e37]'''), ('''[1e-37]''::vector * ''[1e-37]'''), ('''[0]''::vector * ''[1e-37]'''),
  ('''[1,2]''::vector + ''[3]'''), ('''[1,2]''::vector - ''[3]'''), ('''[1,2]''::vector * ''[3,4,5]'''),
  ('l2_distance(''[1,2]''::vector, ''[3]'')'), ('vector_l2_squared_distance(''[1,2]'', ''[3]'')'), ('inner_product(''[1,2]''::vector, ''[3]'')'), ('vector_negative_inner_product(''[1]'', ''[3,1]'')'), ('cosine_distance(''[1,2]''::vector, ''[3]'')'),
  ('l1_distance(''[1,2]''::vector, ''[3]'')'), ('vector_spherical_distance(''[1,2]'', ''[3]'')'), ('''[1,2,3]''::vector <-> ''[1,2]'''), ('''[1,2,3]''::vector <#> ''[1]'''), ('''[1,2,3]''::vector <=> ''[1]'''), ('''[1,2,3]''::vector <+> ''[1]'''),
  ('(''['' || repeat(''1,'', 15999) || ''1]'')::vector || ''[1]''::vector')
) AS v(expression);

-- element by element, then the shorter first; -0 equals 0
SELECT x, y, x < y AS lt, x <= y AS le, x = y AS eq, x <> y AS ne, x >= y AS ge, x > y AS gt, vector_cmp(x, y) AS cmp
FROM (VALUES ('[1,2,3]'::vector, '[1,2,3]'::vector), ('[1,2,3]', '[1,2,4]'), ('[2]', '[1,2]'), ('[1,2]', '[1]'), ('[1]', '[1,0]'), ('[0]', '[-0]'), ('[-1]', '[-2]'), ('[0,5]', '[-0,4]')) AS v(x, y);

-- distances over bit
SELECT hamming_distance(B'111', B'111'), hamming_distance(B'111', B'100'), B'101010101' <~> B'010101010', hamming_distance(B'', B'');
SELECT jaccard_distance(B'1111', B'1110'), jaccard_distance(B'1100', B'0011'), B'1111111101' <%> B'1100000001', jaccard_distance(B'0', B'0');
SELECT binary_quantize('[1,-1,2]'::vector) <~> binary_quantize('[1,1,-2]'::vector) AS hamming, hamming_distance(repeat('10', 4000)::varbit::bit(8000), repeat('01', 4000)::varbit::bit(8000));
SELECT pg_temp.error_of('SELECT hamming_distance(B''111'', B''00'')'), pg_temp.error_of('SELECT B''1'' <%> B''11''');

-- STRICT
SELECT l2_distance('[1]'::vector, NULL) IS NULL, (NULL::vector <=> '[1]') IS NULL, vector_dims(NULL::vector) IS NULL, subvector('[1]'::vector, NULL, 1) IS NULL, (NULL::vector = '[1]') IS NULL;
SELECT '[1,2]'::vector OPERATOR(public.<->) '[1,3]', '[1,0]' <=> '[0,1]'::vector;
DROP SCHEMA vector_functions_test CASCADE;
