/* sql/elacsym--0.1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION elacsym CASCADE" to load this file. \quit

-- Tables. The library reaches them through the table access method. Nobody but superusers may touch them with SQL: the
-- functions and views below are the interface. REPLICA IDENTITY NOTHING: what is in them is meaningless on another
-- server, and a publication FOR ALL TABLES must neither copy it nor stand in the way of deletes.

-- one row per namespace
CREATE TABLE elacsym.namespace (
    id                  uuid NOT NULL,
    name                text COLLATE "C" NOT NULL,
    kind                "char" NOT NULL,                -- n: made by create_namespace()
    owner               oid NOT NULL,
    relation            oid NOT NULL,
    schema              jsonb NOT NULL,                 -- stored form: attributes with their stable ids
    options             jsonb NOT NULL,
    format              integer NOT NULL,
    generation          bigint NOT NULL,                -- number of changes of the set of segments
    manifest_generation bigint NOT NULL,                -- generation of the newest manifest in object storage
    watermark           xid8 NOT NULL,                  -- entries of older transactions are in segments
    created_at          timestamptz NOT NULL,
    CONSTRAINT namespace_pkey PRIMARY KEY (id),
    CONSTRAINT namespace_name_key UNIQUE (name)
);
ALTER TABLE elacsym.namespace REPLICA IDENTITY NOTHING;
ALTER TABLE elacsym.namespace SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- the write buffer: entries that are not in a segment yet
CREATE TABLE elacsym.wal (
    namespace   uuid NOT NULL,
    xid         xid8 NOT NULL,                          -- top-level transaction that wrote it
    seq         bigint NOT NULL,                        -- WAL insert position; per key the highest (seq, xid) wins
    key         bigint NOT NULL,                        -- document id
    crc         integer NOT NULL,                       -- CRC32 of identity, op and payload
    op          "char" NOT NULL,                        -- 1: upsert, 2: delete
    payload     bytea NOT NULL
);
ALTER TABLE elacsym.wal REPLICA IDENTITY NOTHING;
-- vectors do not compress
ALTER TABLE elacsym.wal ALTER COLUMN payload SET STORAGE EXTERNAL;
-- a queue: rows live for about a second
ALTER TABLE elacsym.wal SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000, toast.autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX wal_namespace_xid_idx ON elacsym.wal (namespace, xid);

-- one row per live segment
CREATE TABLE elacsym.segment (
    namespace       uuid NOT NULL,
    id              text COLLATE "C" NOT NULL,          -- ULID
    generation      bigint NOT NULL,                    -- generation that published it
    info            jsonb NOT NULL,                     -- place, sizes, ranges
    rows            bigint NOT NULL,
    bytes           bigint NOT NULL,
    deleted         bigint NOT NULL,                    -- rows that the delete vector marks
    delete_version  bigint NOT NULL,                    -- generation that last changed the delete vector; 0: it has none
    delete_vector   bytea,
    stats           jsonb NOT NULL,
    CONSTRAINT segment_pkey PRIMARY KEY (namespace, id)
);
ALTER TABLE elacsym.segment REPLICA IDENTITY NOTHING;
ALTER TABLE elacsym.segment ALTER COLUMN delete_vector SET STORAGE EXTERNAL;
ALTER TABLE elacsym.segment SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- objects that nothing refers to any more; deleted after elacsym.object_retention
CREATE TABLE elacsym.garbage (
    root        text NOT NULL,
    key         text NOT NULL,
    xid         xid8 NOT NULL,                          -- transaction that released it
    released_at timestamptz NOT NULL
);
ALTER TABLE elacsym.garbage REPLICA IDENTITY NOTHING;

-- Functions. They check privileges themselves: a namespace belongs to the role that created it. NULL where a value is
-- needed is an error, so none is STRICT.

CREATE FUNCTION elacsym.create_namespace(name text, schema jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_create_namespace_wrapper';
COMMENT ON FUNCTION elacsym.create_namespace(text, jsonb) IS 'creates a namespace, owned by the current role';

CREATE FUNCTION elacsym.drop_namespace(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_drop_namespace_wrapper';
COMMENT ON FUNCTION elacsym.drop_namespace(text) IS 'drops a namespace; its objects are deleted after elacsym.object_retention';

CREATE FUNCTION elacsym.upsert(namespace text, documents jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_upsert_documents_wrapper';
COMMENT ON FUNCTION elacsym.upsert(text, jsonb) IS 'writes one document or an array of them; returns their number';

CREATE FUNCTION elacsym.upsert(namespace text, id bigint, vector vector, attributes jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_upsert_row_wrapper';
COMMENT ON FUNCTION elacsym.upsert(text, bigint, vector, jsonb) IS 'writes one document; returns 1';

CREATE FUNCTION elacsym.delete(namespace text, ids bigint[]) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_delete_wrapper';
COMMENT ON FUNCTION elacsym.delete(text, bigint[]) IS 'deletes documents; returns the number of ids, whether or not they existed';

CREATE FUNCTION elacsym.fetch(
        namespace text, ids bigint[], include_vector boolean DEFAULT true, include_attributes text[] DEFAULT '{*}')
    RETURNS TABLE (id bigint, vector vector, attributes jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
    AS 'MODULE_PATHNAME', 'elacsym_fetch_wrapper';
COMMENT ON FUNCTION elacsym.fetch(text, bigint[], boolean, text[]) IS 'documents by id, in the order of the ids; missing ones are left out';

CREATE FUNCTION elacsym.query(
        namespace text, vector vector DEFAULT NULL, full_text jsonb DEFAULT NULL, filter jsonb DEFAULT NULL,
        top_k integer DEFAULT 10, include_vector boolean DEFAULT false, include_attributes text[] DEFAULT NULL,
        rrf_k integer DEFAULT 60, vector_weight real DEFAULT 1, text_weight real DEFAULT 1,
        candidates integer DEFAULT NULL, effort real DEFAULT NULL, fusion text DEFAULT 'rrf')
    RETURNS TABLE (id bigint, score real, vector_rank integer, vector_distance real, text_rank integer, text_score real,
        vector vector, attributes jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_query_wrapper';
COMMENT ON FUNCTION elacsym.query(text, vector, jsonb, jsonb, integer, boolean, text[], integer, real, real, integer, real, text)
    IS 'the best documents by vector, full text or both, best first';

CREATE FUNCTION elacsym.flush(target text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_flush_wrapper';
COMMENT ON FUNCTION elacsym.flush(text) IS 'moves what is buffered into a segment now; returns the number of entries';

CREATE FUNCTION elacsym.stat_engine(
        OUT pid integer, OUT version text, OUT uptime_seconds double precision, OUT starts bigint, OUT stats jsonb)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL SAFE ROWS 1
    AS 'MODULE_PATHNAME', 'stat_engine_wrapper';
COMMENT ON FUNCTION elacsym.stat_engine() IS 'what the engine says of itself';

-- Views. They run with the rights of the extension's owner and show a role only what it may use.

CREATE VIEW elacsym.namespaces WITH (security_barrier) AS
    SELECT n.name::text AS name,
           n.id,
           pg_catalog.pg_get_userbyid(n.owner) AS owner,
           (n.schema #>> '{vector,dim}')::integer AS vector_dim,
           n.schema #>> '{vector,metric}' AS vector_metric,
           (SELECT pg_catalog.array_agg(a ->> 'name' ORDER BY a ->> 'name')
              FROM pg_catalog.jsonb_array_elements(n.schema -> 'attributes') a) AS attributes,
           s.segments,
           s.rows,
           s.dead_rows,
           (SELECT pg_catalog.count(*) FROM elacsym.wal w WHERE w.namespace = n.id AND w.xid >= n.watermark) AS buffered,
           s.bytes,
           n.generation,
           n.manifest_generation,
           n.created_at,
           n.schema
      FROM elacsym.namespace n
     CROSS JOIN LATERAL (
           SELECT pg_catalog.count(*) AS segments,
                  coalesce(pg_catalog.sum(s.rows), 0)::bigint AS rows,
                  coalesce(pg_catalog.sum(s.deleted), 0)::bigint AS dead_rows,
                  coalesce(pg_catalog.sum(s.bytes), 0)::bigint AS bytes
             FROM elacsym.segment s WHERE s.namespace = n.id) s
     WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
COMMENT ON VIEW elacsym.namespaces IS 'the namespaces that the current role may use';

CREATE VIEW elacsym.segments WITH (security_barrier) AS
    SELECT n.name::text AS namespace,
           s.id::text AS segment,
           s.generation,
           (s.info ->> 'format')::integer AS format,
           s.rows,
           s.deleted AS dead_rows,
           (s.info ->> 'vectors')::bigint AS vectors,
           (s.info ->> 'tombstones')::bigint AS tombstones,
           s.bytes,
           (s.info ->> 'parquet_bytes')::bigint AS parquet_bytes,
           (s.info ->> 'index_bytes')::bigint AS index_bytes,
           (s.info ->> 'tail_bytes')::bigint AS tail_bytes,
           (s.info ->> 'min_key')::bigint AS min_id,
           (s.info ->> 'max_key')::bigint AS max_id,
           s.delete_version,
           s.info ->> 'root' AS root,
           s.info ->> 'path' AS path,
           CASE WHEN (s.info ->> 'parquet_bytes')::bigint > 0
                THEN ARRAY[(s.info ->> 'path') || '/rows.parquet', (s.info ->> 'path') || '/search.idx']
                ELSE ARRAY[(s.info ->> 'path') || '/search.idx'] END AS objects,
           s.stats
      FROM elacsym.segment s
      JOIN elacsym.namespace n ON n.id = s.namespace
     WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
COMMENT ON VIEW elacsym.segments IS 'the segments of the namespaces that the current role may use';

CREATE VIEW elacsym.stat_engine AS SELECT * FROM elacsym.stat_engine();
COMMENT ON VIEW elacsym.stat_engine IS 'what the engine says of itself';

GRANT USAGE ON SCHEMA elacsym TO PUBLIC;
GRANT SELECT ON elacsym.namespaces, elacsym.segments, elacsym.stat_engine TO PUBLIC;
