-- text: tokens, queries as they are understood, fragments, operators
SET client_min_messages = warning;
CREATE EXTENSION elacsym CASCADE;
RESET client_min_messages;

SELECT * FROM elacsym.analyze('The Runners are running');
SELECT token FROM elacsym.analyze('getUserName', tokenizer => 'source_code');
SELECT token, start_offset, end_offset FROM elacsym.analyze('日本語 Text', tokenizer => 'cjk');
SELECT token FROM elacsym.analyze('Die Häuser', 'german', stemming => false);
SELECT token FROM elacsym.analyze('Café', ascii_folding => true, case_sensitive => true);
SELECT * FROM elacsym.analyze('x', 'klingon');
SELECT * FROM elacsym.analyze('x', tokenizer => 'ngram(9,1)');

CREATE TABLE docs (id int PRIMARY KEY, title text, body text);
INSERT INTO docs VALUES
    (1, 'Hybrid search', 'Postgres with vectors and words: hybrid search in one call.'),
    (2, 'Storage', 'Segments live on object storage; a search reads what it needs.'),
    (3, 'Bread', 'Flour, water, salt and time.');
CREATE INDEX docs_search ON docs USING elacsym (title bm25_ops (weight = 2), body bm25_ops);

SELECT elacsym.parse_query('docs_search', '+search -"object storage"~1 title:hyb*^2 flouer~1');
SELECT elacsym.parse_query('docs_search', 'wi-fi', 'and', 'body');
SELECT elacsym.parse_query('docs_search', 'the ( "');
SELECT elacsym.parse_query('docs_search', 'x', 'nand');
SELECT elacsym.parse_query('docs', 'x');
SELECT elacsym.parse_query('nothing', 'x');

-- the language in every place
SELECT d.id FROM elacsym.search('docs_search', query_text => 'hybrid -bread') s JOIN docs d ON d.ctid = s.ctid ORDER BY s.score DESC;
SELECT d.id FROM elacsym.search('docs_search', query_text => 'search storage', operator => 'and') s JOIN docs d ON d.ctid = s.ctid;
SELECT d.id FROM elacsym.search('docs_search', query_text => 'title:search') s JOIN docs d ON d.ctid = s.ctid;
SELECT id FROM docs WHERE body @@@ '+search (postgres storage)' ORDER BY body <@> 'postgres^3 storage';
SELECT id FROM docs WHERE body @@@ 'pstgres~1' OR title @@@ 'bre*' ORDER BY id;
SELECT round((body <@> 'wat* flouer~1')::numeric, 4) AS distance FROM docs WHERE id = 3;
SELECT * FROM elacsym.search('docs_search', query_text => 'x', operator => 'xor');

SELECT id, elacsym.highlight('docs_search', body, 'hybrid "object storage" salt', 'body') FROM docs ORDER BY id;
SELECT id, elacsym.highlight('docs_search', ctid, 'search', 'title', '[', ']') FROM docs ORDER BY id;
SELECT elacsym.highlight('docs_search', body, 'search', 'body', max_fragments => 1, fragment_size => 20) FROM docs WHERE id = 2;
SELECT elacsym.highlight('docs_search', body, 'search') FROM docs WHERE id = 2;

-- wrong options
CREATE INDEX ON docs USING elacsym (body bm25_ops (tokenizer = 'latin'));
CREATE INDEX ON docs USING elacsym (body bm25_ops (max_token_length = 100000));
SELECT elacsym.create_namespace('wrong', '{"attributes": {"body": {"type": "string", "full_text": {"tokenizer": "raw", "stemming": true}}}}');
DROP TABLE docs;
