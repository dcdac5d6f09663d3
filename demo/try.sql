-- A question that you choose from the list, all three ways at once: see which arm found what.
SELECT r.id, round(r.score::numeric, 4) AS score, r.vector_rank, r.text_rank, r.attributes ->> 'title' AS title
FROM questions q, elacsym.query('manual', q.embedding, to_jsonb(q.text), include_attributes => ARRAY['title']) r
WHERE q.id = 29 ORDER BY r.score DESC;

-- Your own words (text arm only: the demo has no embedding model at hand).
SELECT r.id, r.attributes ->> 'title' AS title
FROM elacsym.query('manual', full_text => '"vacuum freeze wraparound"', include_attributes => ARRAY['title']) r ORDER BY r.score DESC;

-- The same with a filter: only descriptions of settings, and never fewer rows than asked for while there are matches.
SELECT r.id, r.attributes ->> 'title' AS title
FROM elacsym.query('manual', full_text => '"vacuum freeze wraparound"', filter => '{"field": "kind", "op": "eq", "value": "guc"}',
                   include_attributes => ARRAY['title']) r ORDER BY r.score DESC;

-- A write is searchable at once, inside its transaction too, and gone with a rollback.
BEGIN;
SELECT elacsym.upsert('manual', '[{"id": 100001, "attributes": {"title": "my own note", "body": "zanzibar is not in the manual"}}]');
SELECT r.id, r.attributes FROM elacsym.query('manual', full_text => '"zanzibar"', include_attributes => ARRAY['title', 'body']) r;
ROLLBACK;
SELECT count(*) FROM elacsym.query('manual', full_text => '"zanzibar"');

-- What it holds.
SELECT * FROM elacsym.namespaces;
