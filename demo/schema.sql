-- What the demo adds to the database `demo`: the extension, the questions with their judgements, the namespace `manual`.
\set ON_ERROR_STOP on
CREATE EXTENSION elacsym CASCADE;

-- 80 questions and who answers them: grade 2 = answers it, 1 = clearly related
CREATE TABLE questions (id int PRIMARY KEY, text text NOT NULL, type text NOT NULL, embedding vector(384) NOT NULL);
CREATE TABLE qrels (question int REFERENCES questions, section bigint, grade int NOT NULL, PRIMARY KEY (question, section));

-- The sections pass through here on their way into the namespace; the table is dropped afterwards.
CREATE UNLOGGED TABLE staging (id bigint PRIMARY KEY, embedding vector(384) NOT NULL, attributes jsonb NOT NULL);

SELECT elacsym.create_namespace('manual', '{
  "vector_dim": 384,
  "vector_metric": "cosine",
  "attributes": {
    "title":   {"type": "string", "full_text": true},
    "body":    {"type": "string", "full_text": true},
    "chapter": {"type": "string"},
    "kind":    {"type": "string"},
    "page":    {"type": "string"},
    "anchor":  {"type": "string"},
    "words":   {"type": "int"},
    "tags":    {"type": "array_string"}
  }
}');

-- What the three ways to search answered, and how long each took.
CREATE TABLE answers (question int, way text, rank int, section bigint, title text, PRIMARY KEY (question, way, rank));
CREATE TABLE timings (question int, way text, ms double precision, PRIMARY KEY (question, way));

CREATE PROCEDURE answer(from_question int, to_question int) LANGUAGE plpgsql AS $$
DECLARE
  q record;
  w text;
  started timestamptz;
BEGIN
  DELETE FROM answers WHERE question BETWEEN from_question AND to_question;
  DELETE FROM timings WHERE question BETWEEN from_question AND to_question;
  FOR q IN SELECT * FROM questions WHERE id BETWEEN from_question AND to_question ORDER BY id LOOP
    FOREACH w IN ARRAY ARRAY['vector', 'text', 'hybrid'] LOOP
      started := clock_timestamp();
      INSERT INTO answers
        SELECT q.id, w, row_number() OVER (ORDER BY r.score DESC, r.id), r.id, r.attributes ->> 'title'
        FROM elacsym.query('manual',
                           vector => CASE WHEN w <> 'text' THEN q.embedding END,
                           full_text => CASE WHEN w <> 'vector' THEN to_jsonb(q.text) END,
                           top_k => 10,
                           include_attributes => ARRAY['title']) r;
      INSERT INTO timings VALUES (q.id, w, extract(epoch FROM clock_timestamp() - started) * 1000);
    END LOOP;
  END LOOP;
END
$$;

-- nDCG@10: gain 2^grade - 1, discount log2(1 + rank), against the best order the judgements allow.
CREATE VIEW ndcg AS
WITH ideal AS (
  SELECT question, sum((2 ^ grade - 1) / log(2, 1 + rank)) AS dcg
  FROM (SELECT question, grade, row_number() OVER (PARTITION BY question ORDER BY grade DESC) AS rank FROM qrels) r
  WHERE rank <= 10
  GROUP BY question
), reached AS (
  SELECT a.question, a.way, sum((2 ^ coalesce(r.grade, 0) - 1) / log(2, 1 + a.rank)) AS dcg
  FROM answers a LEFT JOIN qrels r USING (question, section)
  GROUP BY a.question, a.way
)
SELECT q.id AS question, q.type, w.way, coalesce(r.dcg, 0) / i.dcg AS ndcg
FROM questions q
JOIN ideal i ON i.question = q.id
CROSS JOIN (VALUES ('vector'), ('text'), ('hybrid')) w (way)
LEFT JOIN reached r ON r.question = q.id AND r.way = w.way;
