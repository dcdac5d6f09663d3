-- namespaces, from creation to drop, as a person at psql sees them
SET client_min_messages = warning;
CREATE EXTENSION elacsym CASCADE;
RESET client_min_messages;

-- what the extension offers
SELECT p.oid::regprocedure AS function, p.provolatile AS volatile, p.proparallel AS parallel, has_function_privilege('public', p.oid, 'EXECUTE') AS public
  FROM pg_proc p WHERE pronamespace = 'elacsym'::regnamespace AND proname !~ '^_' ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT relname, relkind, relreplident, has_table_privilege('public', oid, 'SELECT') AS public
  FROM pg_class WHERE relnamespace = 'elacsym'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname COLLATE "C";

SELECT elacsym.create_namespace('books', '{
    "vector_dim": 3, "vector_metric": "l2",
    "attributes": {"title": {"type": "string", "full_text": {"language": "english"}}, "year": "int", "tags": "array_string"}}');
SELECT name, owner = current_user AS mine, vector_dim, vector_metric, attributes, segments, rows, buffered, generation FROM elacsym.namespaces;

SELECT elacsym.upsert('books', '[
    {"id": 1, "vector": [1, 2, 3], "attributes": {"title": "A Discipline of Programming", "year": 1976, "tags": ["theory"]}},
    {"id": 2, "vector": [2, 2, 2], "attributes": {"title": "The Art of Computer Programming", "year": 1968, "tags": ["theory", "algorithms"]}},
    {"id": 3, "attributes": {"title": "Transaction Processing", "year": 1992}}]');
SELECT elacsym.upsert('books', 4, '[9,9,9]', '{"title": "Readings in Database Systems", "year": 1998}');
SELECT elacsym.upsert('books', '{"id": 5}');

-- vector, text, both; with a filter
SELECT id, vector_rank, vector_distance, text_rank FROM elacsym.query('books', '[1,2,3]', top_k => 2);
SELECT id, text_rank, attributes ->> 'title' AS title FROM elacsym.query('books', full_text => '"programming"', include_attributes => '{title}');
SELECT id, vector_rank, text_rank, score FROM elacsym.query('books', '[1,2,3]', '{"field": "title", "query": "processing programs"}', rrf_k => 1);
SELECT id FROM elacsym.query('books', '[1,2,3]', filter => '{"field": "year", "op": "gte", "value": 1970}');
SELECT * FROM elacsym.fetch('books', '{4,1,77}');
SELECT * FROM elacsym.fetch('books', '{1,5}', include_vector => false, include_attributes => '{year}');

-- the same from a segment
SELECT elacsym.flush('books') >= 0 AS flushed;
SELECT segments > 0 AS segments, buffered FROM elacsym.namespaces;
SELECT id, vector_rank, vector_distance, text_rank FROM elacsym.query('books', '[1,2,3]', top_k => 2);
SELECT id, text_rank, attributes ->> 'title' AS title FROM elacsym.query('books', full_text => '"programming"', include_attributes => '{title}');
SELECT id, vector_rank, text_rank, score FROM elacsym.query('books', '[1,2,3]', '{"field": "title", "query": "processing programs"}', rrf_k => 1);
SELECT id FROM elacsym.query('books', '[1,2,3]', filter => '{"field": "year", "op": "gte", "value": 1970}');
SELECT * FROM elacsym.fetch('books', '{4,1,77}');

-- replace, delete, roll back
SELECT elacsym.upsert('books', 1, '[0,0,1]', '{"title": "Selected Writings", "year": 1982}');
SELECT elacsym.delete('books', '{2,2,99}');
SELECT id, attributes ->> 'title' AS title FROM elacsym.fetch('books', '{1,2,3,4,5}');
BEGIN;
SELECT elacsym.delete('books', '{1,3,4,5}');
SELECT id FROM elacsym.fetch('books', '{1,2,3,4,5}');
ROLLBACK;
SELECT id FROM elacsym.fetch('books', '{1,2,3,4,5}');

-- NULL for an argument that has a default means the default
SELECT count(*) FROM elacsym.query('books', '[1,2,3]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- some errors as they look; pg_test/cluster/test_errors.py has them all
SELECT elacsym.create_namespace('books', '{"vector_dim": 3}');
SELECT elacsym.upsert('books', '[{"id": 1, "vector": [1, 2]}]');
SELECT elacsym.upsert('books', '[{"id": 1, "attributes": {"yaer": 1}}]');
SELECT * FROM elacsym.query('books', '[1,2,3]', top_k => 0);
SELECT * FROM elacsym.query('bucks', '[1,2,3]');

SELECT elacsym.drop_namespace('books');
SELECT count(*) FROM elacsym.namespaces;
SELECT elacsym.drop_namespace('books');
