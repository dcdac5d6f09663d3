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
    kind                "char" NOT NULL,                -- n: made by create_namespace(); i: one life of an index
    owner               oid NOT NULL,
    relation            oid NOT NULL,                   -- the index
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
    key         bigint NOT NULL,                        -- which document; of an index the heap tid
    crc         integer NOT NULL,                       -- CRC32 of identity, op and payload
    op          "char" NOT NULL,                        -- 1: upsert, 2: delete, 3: patch
    payload     bytea NOT NULL,
    horizon     xid8,                                   -- of a patch: transactions from this one on began after it
    key_high    bigint                                  -- upper half of a key of 128 bits; key is the lower one
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
    delete_version  bigint NOT NULL,                    -- position in the log where the delete vector was written; 0: it has none
    delete_vector   bytea,
    stats           jsonb NOT NULL,
    horizon         xid8 NOT NULL,                      -- transactions from this one on draw higher orders than all entries
    CONSTRAINT segment_pkey PRIMARY KEY (namespace, id)
);
ALTER TABLE elacsym.segment REPLICA IDENTITY NOTHING;
ALTER TABLE elacsym.segment ALTER COLUMN delete_vector SET STORAGE EXTERNAL;
ALTER TABLE elacsym.segment SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- objects that nothing refers to any more; deleted after elacsym.object_retention
CREATE TABLE elacsym.garbage (
    root        text NOT NULL,
    key         text COLLATE "C" NOT NULL,
    xid         xid8 NOT NULL,                          -- transaction that released it; of an orphan the last one when it was found
    released_at timestamptz NOT NULL,
    reason      "char" NOT NULL                         -- r: released; o: orphan, found without a reference; m: superseded manifest
);
ALTER TABLE elacsym.garbage REPLICA IDENTITY NOTHING;
ALTER TABLE elacsym.garbage SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX garbage_key_idx ON elacsym.garbage (key);
CREATE INDEX garbage_reason_released_at_idx ON elacsym.garbage (reason, released_at);

-- who may use a namespace besides its owner; role 0 is everybody
CREATE TABLE elacsym.namespace_grant (
    namespace   uuid NOT NULL,
    role        oid NOT NULL,
    privilege   "char" NOT NULL,                        -- r: read, w: write
    CONSTRAINT namespace_grant_pkey PRIMARY KEY (namespace, role, privilege)
);
ALTER TABLE elacsym.namespace_grant REPLICA IDENTITY NOTHING;

-- Functions. They check privileges themselves: a namespace belongs to the role that created it, which may grant others its use. NULL where a value is
-- needed is an error, so none is STRICT.

CREATE FUNCTION elacsym.create_namespace(name text, schema jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_create_namespace_wrapper';
COMMENT ON FUNCTION elacsym.create_namespace(text, jsonb) IS 'creates a namespace, owned by the current role';

CREATE FUNCTION elacsym.alter_namespace(name text, changes jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_alter_namespace_wrapper';
COMMENT ON FUNCTION elacsym.alter_namespace(text, jsonb) IS 'adds, changes, renames and drops attributes of a namespace';

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
        candidates integer DEFAULT NULL, effort real DEFAULT NULL, fusion text DEFAULT 'rrf',
        queries jsonb DEFAULT NULL, modifiers jsonb DEFAULT NULL, per jsonb DEFAULT NULL, "offset" integer DEFAULT 0,
        order_by jsonb DEFAULT NULL)
    RETURNS TABLE (id bigint, score real, vector_rank integer, vector_distance real, text_rank integer, text_score real,
        vector vector, attributes jsonb, arms jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_query_wrapper';
COMMENT ON FUNCTION elacsym.query(text, vector, jsonb, jsonb, integer, boolean, text[], integer, real, real, integer, real, text,
        jsonb, jsonb, jsonb, integer, jsonb)
    IS 'the best documents by vectors, full text or both, best first; or the first by attributes';

CREATE FUNCTION elacsym.count(target text, filter jsonb DEFAULT NULL, full_text jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_count_wrapper';
COMMENT ON FUNCTION elacsym.count(text, jsonb, jsonb)
    IS 'how many documents of a namespace, or visible rows of an index, match a filter and a full-text query';

CREATE FUNCTION elacsym.facets(target text, facets jsonb, filter jsonb DEFAULT NULL, full_text jsonb DEFAULT NULL) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_facets_wrapper';
COMMENT ON FUNCTION elacsym.facets(text, jsonb, jsonb, jsonb)
    IS 'frequent values, statistics, histograms and ranges of attributes over what matches a filter and a full-text query';

CREATE FUNCTION elacsym.flush(target text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_flush_wrapper';
COMMENT ON FUNCTION elacsym.flush(text) IS 'moves what is buffered into a segment now; returns the number of entries';

-- compaction
CREATE FUNCTION elacsym.compact(target text, OUT segments_before bigint, OUT segments_after bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
    AS 'MODULE_PATHNAME', 'elacsym_compact_wrapper';
COMMENT ON FUNCTION elacsym.compact(text) IS 'merges all segments now, into one where it fits; returns how many there were and are';

CREATE FUNCTION elacsym.compaction_progress(
        OUT database oid, OUT namespace uuid, OUT target text, OUT pid integer, OUT phase text,
        OUT rows_done bigint, OUT rows_total bigint, OUT started timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL SAFE ROWS 1
    AS 'MODULE_PATHNAME', 'elacsym_compaction_progress_wrapper';
COMMENT ON FUNCTION elacsym.compaction_progress() IS 'the compactions under way, of all databases';

CREATE FUNCTION elacsym.stat_engine(
        OUT pid integer, OUT version text, OUT uptime_seconds double precision, OUT starts bigint, OUT stats jsonb)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL SAFE ROWS 1
    AS 'MODULE_PATHNAME', 'stat_engine_wrapper';
COMMENT ON FUNCTION elacsym.stat_engine() IS 'what the engine says of itself';

-- The index access method. Operators and operator classes, which statements name without a schema (vector_cosine_ops, bm25_ops,
-- @@@, <@>), are created where the type vector is: whoever finds the type finds them too. The rest is in schema elacsym.

CREATE FUNCTION elacsym.amhandler(internal) RETURNS index_am_handler
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_amhandler';
CREATE ACCESS METHOD elacsym TYPE INDEX HANDLER elacsym.amhandler;
COMMENT ON ACCESS METHOD elacsym IS 'vectors, full text and attributes in object storage';

-- Support function 1: what a key of the operator class is.
CREATE FUNCTION elacsym.opclass_cosine(internal) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_opclass_cosine';
CREATE FUNCTION elacsym.opclass_l2(internal) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_opclass_l2';
CREATE FUNCTION elacsym.opclass_dot(internal) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_opclass_dot';
CREATE FUNCTION elacsym.opclass_bm25(internal) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_opclass_bm25';
-- Support function 2: the options of the operator class.
CREATE FUNCTION elacsym.opclass_bm25_options(internal) RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_opclass_bm25_options';

-- A full-text query together with the index whose analysis and statistics it goes by. The planner makes one out of the text on
-- the right side of @@@ and <@>; people write one to say which of several indexes they mean.
CREATE TYPE elacsym.bm25query;
CREATE FUNCTION elacsym.bm25query_in(cstring) RETURNS elacsym.bm25query
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_bm25query_in';
CREATE FUNCTION elacsym.bm25query_out(elacsym.bm25query) RETURNS cstring
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_bm25query_out';
CREATE TYPE elacsym.bm25query (
    INPUT = elacsym.bm25query_in,
    OUTPUT = elacsym.bm25query_out,
    STORAGE = plain
);
COMMENT ON TYPE elacsym.bm25query IS 'a full-text query and the column of the index it goes by';

CREATE FUNCTION elacsym.bm25query(query text, index regclass, "column" integer DEFAULT NULL) RETURNS elacsym.bm25query
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_bm25query';
COMMENT ON FUNCTION elacsym.bm25query(text, regclass, integer)
    IS 'a query that goes by this column of an index; without a column by its only bm25_ops column';

CREATE FUNCTION elacsym.text_operator_support(internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_text_operator_support';
CREATE FUNCTION elacsym.text_match(text, text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000 SUPPORT elacsym.text_operator_support
    AS 'MODULE_PATHNAME', 'elacsym_text_match';
CREATE FUNCTION elacsym.text_match(text, elacsym.bm25query) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_text_match_by_index';
-- Workers would take the statistics at different moments.
CREATE FUNCTION elacsym.text_distance(text, text) RETURNS double precision
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 SUPPORT elacsym.text_operator_support
    AS 'MODULE_PATHNAME', 'elacsym_text_distance';
CREATE FUNCTION elacsym.text_distance(text, elacsym.bm25query) RETURNS double precision
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_text_distance_by_index';

-- Up to the next change of search_path new things go to the schema of vector.
DO $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.quote_ident(n.nspname) || ', pg_temp', true)
       FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
END $$;

-- Attributes: what a filter may compare. Families hold the operators between the types of one kind.

CREATE OPERATOR FAMILY integer_ops USING elacsym;
CREATE OPERATOR CLASS int2_ops DEFAULT FOR TYPE int2 USING elacsym FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS int4_ops DEFAULT FOR TYPE int4 USING elacsym FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS int8_ops DEFAULT FOR TYPE int8 USING elacsym FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
ALTER OPERATOR FAMILY integer_ops USING elacsym ADD
    OPERATOR 1 < (int2, int4), OPERATOR 2 <= (int2, int4), OPERATOR 3 = (int2, int4),
    OPERATOR 4 >= (int2, int4), OPERATOR 5 > (int2, int4), OPERATOR 6 <> (int2, int4),
    OPERATOR 1 < (int2, int8), OPERATOR 2 <= (int2, int8), OPERATOR 3 = (int2, int8),
    OPERATOR 4 >= (int2, int8), OPERATOR 5 > (int2, int8), OPERATOR 6 <> (int2, int8),
    OPERATOR 1 < (int4, int2), OPERATOR 2 <= (int4, int2), OPERATOR 3 = (int4, int2),
    OPERATOR 4 >= (int4, int2), OPERATOR 5 > (int4, int2), OPERATOR 6 <> (int4, int2),
    OPERATOR 1 < (int4, int8), OPERATOR 2 <= (int4, int8), OPERATOR 3 = (int4, int8),
    OPERATOR 4 >= (int4, int8), OPERATOR 5 > (int4, int8), OPERATOR 6 <> (int4, int8),
    OPERATOR 1 < (int8, int2), OPERATOR 2 <= (int8, int2), OPERATOR 3 = (int8, int2),
    OPERATOR 4 >= (int8, int2), OPERATOR 5 > (int8, int2), OPERATOR 6 <> (int8, int2),
    OPERATOR 1 < (int8, int4), OPERATOR 2 <= (int8, int4), OPERATOR 3 = (int8, int4),
    OPERATOR 4 >= (int8, int4), OPERATOR 5 > (int8, int4), OPERATOR 6 <> (int8, int4);

CREATE OPERATOR FAMILY float_ops USING elacsym;
CREATE OPERATOR CLASS float4_ops DEFAULT FOR TYPE float4 USING elacsym FAMILY float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS float8_ops DEFAULT FOR TYPE float8 USING elacsym FAMILY float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
ALTER OPERATOR FAMILY float_ops USING elacsym ADD
    OPERATOR 1 < (float4, float8), OPERATOR 2 <= (float4, float8), OPERATOR 3 = (float4, float8),
    OPERATOR 4 >= (float4, float8), OPERATOR 5 > (float4, float8), OPERATOR 6 <> (float4, float8),
    OPERATOR 1 < (float8, float4), OPERATOR 2 <= (float8, float4), OPERATOR 3 = (float8, float4),
    OPERATOR 4 >= (float8, float4), OPERATOR 5 > (float8, float4), OPERATOR 6 <> (float8, float4);

CREATE OPERATOR CLASS text_ops DEFAULT FOR TYPE text USING elacsym AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS numeric_ops DEFAULT FOR TYPE numeric USING elacsym AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS bool_ops DEFAULT FOR TYPE bool USING elacsym AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS date_ops DEFAULT FOR TYPE date USING elacsym AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS timestamp_ops DEFAULT FOR TYPE timestamp USING elacsym AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS timestamptz_ops DEFAULT FOR TYPE timestamptz USING elacsym AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;
CREATE OPERATOR CLASS uuid_ops DEFAULT FOR TYPE uuid USING elacsym AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, OPERATOR 6 <>;

-- Each array type has a family of its own: the operators are those of anyarray, which a family can hold only once.
CREATE OPERATOR CLASS text_array_ops DEFAULT FOR TYPE text[] USING elacsym AS
    OPERATOR 7 && (anyarray, anyarray), OPERATOR 8 @> (anyarray, anyarray);
CREATE OPERATOR CLASS varchar_array_ops DEFAULT FOR TYPE varchar[] USING elacsym AS
    OPERATOR 7 && (anyarray, anyarray), OPERATOR 8 @> (anyarray, anyarray);
CREATE OPERATOR CLASS int4_array_ops DEFAULT FOR TYPE int4[] USING elacsym AS
    OPERATOR 7 && (anyarray, anyarray), OPERATOR 8 @> (anyarray, anyarray);
CREATE OPERATOR CLASS int8_array_ops DEFAULT FOR TYPE int8[] USING elacsym AS
    OPERATOR 7 && (anyarray, anyarray), OPERATOR 8 @> (anyarray, anyarray);

-- Vectors and full text.

CREATE OPERATOR @@@ (LEFTARG = text, RIGHTARG = text, FUNCTION = elacsym.text_match,
    RESTRICT = contsel, JOIN = contjoinsel);
CREATE OPERATOR @@@ (LEFTARG = text, RIGHTARG = elacsym.bm25query, FUNCTION = elacsym.text_match,
    RESTRICT = contsel, JOIN = contjoinsel);
CREATE OPERATOR <@> (LEFTARG = text, RIGHTARG = text, FUNCTION = elacsym.text_distance);
CREATE OPERATOR <@> (LEFTARG = text, RIGHTARG = elacsym.bm25query, FUNCTION = elacsym.text_distance);
COMMENT ON OPERATOR @@@ (text, text) IS 'matches a full-text query: terms, "phrases", +required, -excluded, prefix*';
COMMENT ON OPERATOR @@@ (text, elacsym.bm25query) IS 'matches a full-text query that goes by an index';
COMMENT ON OPERATOR <@> (text, text) IS 'negated BM25 score: ascending order is best first';
COMMENT ON OPERATOR <@> (text, elacsym.bm25query) IS 'negated BM25 score that goes by an index: ascending order is best first';

-- Only the forms that name an index: the planner turns the others into these, and an index must not answer for another one.
CREATE OPERATOR CLASS bm25_ops FOR TYPE text USING elacsym AS
    OPERATOR 9 @@@ (text, elacsym.bm25query),
    OPERATOR 10 <@> (text, elacsym.bm25query) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 elacsym.opclass_bm25(internal),
    FUNCTION 2 elacsym.opclass_bm25_options(internal);
CREATE OPERATOR CLASS vector_l2_ops FOR TYPE vector USING elacsym AS
    OPERATOR 10 <-> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 elacsym.opclass_l2(internal);
CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING elacsym AS
    OPERATOR 10 <#> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 elacsym.opclass_dot(internal);
CREATE OPERATOR CLASS vector_cosine_ops FOR TYPE vector USING elacsym AS
    OPERATOR 10 <=> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 elacsym.opclass_cosine(internal);

-- The stand-in extension "vector" has no halfvec.
DO $$
BEGIN
    IF pg_catalog.to_regtype('halfvec') IS NOT NULL THEN
        CREATE OPERATOR CLASS halfvec_l2_ops FOR TYPE halfvec USING elacsym AS
            OPERATOR 10 <-> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
            FUNCTION 1 elacsym.opclass_l2(internal);
        CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING elacsym AS
            OPERATOR 10 <#> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
            FUNCTION 1 elacsym.opclass_dot(internal);
        CREATE OPERATOR CLASS halfvec_cosine_ops FOR TYPE halfvec USING elacsym AS
            OPERATOR 10 <=> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
            FUNCTION 1 elacsym.opclass_cosine(internal);
    END IF;
END $$;

DO $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'elacsym, ' || pg_catalog.current_setting('search_path'), true);
END $$;

CREATE FUNCTION elacsym.last_query_stats(
        OUT segments bigint, OUT buffered bigint, OUT lists_probed bigint, OUT rows_scanned bigint, OUT rows_reranked bigint,
        OUT object_requests bigint, OUT object_bytes bigint, OUT cache_hits bigint, OUT cache_misses bigint,
        OUT engine_micros bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
    AS 'MODULE_PATHNAME', 'last_query_stats_wrapper';
COMMENT ON FUNCTION elacsym.last_query_stats() IS 'what the last search of this session did and cost';

CREATE FUNCTION elacsym.search(
        index regclass, query_vector vector DEFAULT NULL, query_text text DEFAULT NULL, k integer DEFAULT 10,
        filter jsonb DEFAULT NULL, fields jsonb DEFAULT NULL,
        rrf_k integer DEFAULT 60, vector_weight real DEFAULT 1, text_weight real DEFAULT 1,
        candidates integer DEFAULT NULL, effort real DEFAULT NULL, fusion text DEFAULT 'rrf',
        queries jsonb DEFAULT NULL, modifiers jsonb DEFAULT NULL, per jsonb DEFAULT NULL, "offset" integer DEFAULT 0,
        order_by jsonb DEFAULT NULL, operator text DEFAULT 'or')
    RETURNS TABLE (ctid tid, score real, vector_rank integer, vector_distance real, text_rank integer, text_score real, arms jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_search_wrapper';
COMMENT ON FUNCTION elacsym.search(regclass, vector, text, integer, jsonb, jsonb, integer, real, real, integer, real, text,
        jsonb, jsonb, jsonb, integer, jsonb, text)
    IS 'the best visible rows of an indexed table by vector, full text or both, best first; join on ctid in the same statement';

CREATE FUNCTION elacsym.search_keys(
        index regclass, query_vector vector DEFAULT NULL, query_text text DEFAULT NULL, k integer DEFAULT 10,
        filter jsonb DEFAULT NULL, fields jsonb DEFAULT NULL,
        rrf_k integer DEFAULT 60, vector_weight real DEFAULT 1, text_weight real DEFAULT 1,
        candidates integer DEFAULT NULL, effort real DEFAULT NULL, fusion text DEFAULT 'rrf',
        queries jsonb DEFAULT NULL, modifiers jsonb DEFAULT NULL, per jsonb DEFAULT NULL, "offset" integer DEFAULT 0,
        order_by jsonb DEFAULT NULL, operator text DEFAULT 'or')
    RETURNS TABLE (key text, score real, vector_rank integer, vector_distance real, text_rank integer, text_score real, arms jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_search_keys_wrapper';
COMMENT ON FUNCTION elacsym.search_keys(regclass, vector, text, integer, jsonb, jsonb, integer, real, real, integer, real, text,
        jsonb, jsonb, jsonb, integer, jsonb, text)
    IS 'as elacsym.search(), with the primary key as text instead of the ctid';

CREATE FUNCTION elacsym.evaluate(
        target text, queries jsonb, qrels jsonb, k integer DEFAULT 10, filter jsonb DEFAULT NULL, fields jsonb DEFAULT NULL,
        rrf_k integer DEFAULT 60, vector_weight real DEFAULT 1, text_weight real DEFAULT 1,
        candidates integer DEFAULT NULL, effort real DEFAULT NULL, fusion text DEFAULT 'rrf', modifiers jsonb DEFAULT NULL)
    RETURNS TABLE (arm text, queries bigint, ndcg real, recall real, mrr real)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 3 COST 100000
    AS 'MODULE_PATHNAME', 'elacsym_evaluate_wrapper';
COMMENT ON FUNCTION elacsym.evaluate(text, jsonb, jsonb, integer, jsonb, jsonb, integer, real, real, integer, real, text, jsonb)
    IS 'nDCG, recall and MRR of a namespace or an index by relevance judgements, for each arm and for their fusion';

CREATE FUNCTION elacsym.verify(index regclass) RETURNS TABLE (problem text, ctid tid, detail text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 COST 100000
    AS 'MODULE_PATHNAME', 'elacsym_verify_wrapper';
COMMENT ON FUNCTION elacsym.verify(regclass)
    IS 'compares an index with its table and checks everything stored of it: one row for each difference';

-- Documents: patches, conditional writes, scans; grants.

CREATE FUNCTION elacsym.patch(namespace text, documents jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_patch_wrapper';
COMMENT ON FUNCTION elacsym.patch(text, jsonb)
    IS 'changes only the attributes and vectors given, null removes; missing documents are left out; returns the number of ids';

CREATE FUNCTION elacsym.upsert_if(namespace text, documents jsonb, condition jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_upsert_if_wrapper';
COMMENT ON FUNCTION elacsym.upsert_if(text, jsonb, jsonb)
    IS 'writes the documents whose present version meets the condition, or the one under "if"; returns their number';

CREATE FUNCTION elacsym.patch_if(namespace text, documents jsonb, condition jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_patch_if_wrapper';
COMMENT ON FUNCTION elacsym.patch_if(text, jsonb, jsonb)
    IS 'patches the documents whose present version meets the condition, or the one under "if"; returns their number';

CREATE FUNCTION elacsym.delete_if(namespace text, ids bigint[], condition jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_delete_if_wrapper';
COMMENT ON FUNCTION elacsym.delete_if(text, bigint[], jsonb)
    IS 'deletes the documents whose present version meets the condition; returns their number';

CREATE FUNCTION elacsym.delete_where(namespace text, filter jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_delete_where_wrapper';
COMMENT ON FUNCTION elacsym.delete_where(text, jsonb) IS 'deletes the documents that match; returns their number';

CREATE FUNCTION elacsym.patch_where(namespace text, filter jsonb, patch jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_patch_where_wrapper';
COMMENT ON FUNCTION elacsym.patch_where(text, jsonb, jsonb) IS 'patches the documents that match; returns their number';

CREATE FUNCTION elacsym.scan(
        namespace text, filter jsonb DEFAULT NULL, after_id bigint DEFAULT NULL, "limit" integer DEFAULT 1000,
        include_vector boolean DEFAULT false, include_attributes text[] DEFAULT '{*}')
    RETURNS TABLE (id bigint, vector vector, attributes jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_scan_wrapper';
COMMENT ON FUNCTION elacsym.scan(text, jsonb, bigint, integer, boolean, text[])
    IS 'documents that match by ascending id; the next page begins after the last id of this one';

CREATE FUNCTION elacsym.grant(namespace text, role text, privilege text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_grant_wrapper';
COMMENT ON FUNCTION elacsym.grant(text, text, text) IS 'lets a role, or public, read or write a namespace';

CREATE FUNCTION elacsym.revoke(namespace text, role text, privilege text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_revoke_wrapper';
COMMENT ON FUNCTION elacsym.revoke(text, text, text) IS 'takes back what elacsym.grant() gave';

CREATE VIEW elacsym.grants WITH (security_barrier) AS
    SELECT n.name::text AS namespace,
           CASE WHEN g.role = 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(g.role)::text END AS role,
           CASE g.privilege WHEN 'r' THEN 'read' ELSE 'write' END AS privilege
      FROM elacsym.namespace_grant g
      JOIN elacsym.namespace n ON n.id = g.namespace
     WHERE pg_catalog.pg_has_role(n.owner, 'USAGE') OR g.role = 0 OR pg_catalog.pg_has_role(g.role, 'USAGE');
COMMENT ON VIEW elacsym.grants IS 'grants on the namespaces of the current role, and those made to it';

-- Documents by ids as text, for ids of any type; ids of type uuid and text have these functions only. Their names are their
-- own: overloaded, unknown literals and parameters would become text where they are bigint today.

CREATE FUNCTION elacsym.upsert_key(namespace text, id text, vector vector, attributes jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_upsert_key_wrapper';
COMMENT ON FUNCTION elacsym.upsert_key(text, text, vector, jsonb) IS 'writes one document; returns 1';

CREATE FUNCTION elacsym.delete_keys(namespace text, ids text[]) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_delete_keys_wrapper';
COMMENT ON FUNCTION elacsym.delete_keys(text, text[]) IS 'deletes documents; returns the number of ids, whether or not they existed';

CREATE FUNCTION elacsym.delete_keys_if(namespace text, ids text[], condition jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'elacsym_delete_keys_if_wrapper';
COMMENT ON FUNCTION elacsym.delete_keys_if(text, text[], jsonb)
    IS 'deletes the documents whose present version meets the condition; returns their number';

CREATE FUNCTION elacsym.fetch_keys(
        namespace text, ids text[], include_vector boolean DEFAULT true, include_attributes text[] DEFAULT '{*}')
    RETURNS TABLE (id text, vector vector, attributes jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
    AS 'MODULE_PATHNAME', 'elacsym_fetch_keys_wrapper';
COMMENT ON FUNCTION elacsym.fetch_keys(text, text[], boolean, text[])
    IS 'documents by id, in the order of the ids; missing ones are left out';

CREATE FUNCTION elacsym.scan_keys(
        namespace text, filter jsonb DEFAULT NULL, after_id text DEFAULT NULL, "limit" integer DEFAULT 1000,
        include_vector boolean DEFAULT false, include_attributes text[] DEFAULT '{*}')
    RETURNS TABLE (id text, vector vector, attributes jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_scan_keys_wrapper';
COMMENT ON FUNCTION elacsym.scan_keys(text, jsonb, text, integer, boolean, text[])
    IS 'documents that match by ascending id; the next page begins after the last id of this one';

CREATE FUNCTION elacsym.query_keys(
        namespace text, vector vector DEFAULT NULL, full_text jsonb DEFAULT NULL, filter jsonb DEFAULT NULL,
        top_k integer DEFAULT 10, include_vector boolean DEFAULT false, include_attributes text[] DEFAULT NULL,
        rrf_k integer DEFAULT 60, vector_weight real DEFAULT 1, text_weight real DEFAULT 1,
        candidates integer DEFAULT NULL, effort real DEFAULT NULL, fusion text DEFAULT 'rrf',
        queries jsonb DEFAULT NULL, modifiers jsonb DEFAULT NULL, per jsonb DEFAULT NULL, "offset" integer DEFAULT 0,
        order_by jsonb DEFAULT NULL)
    RETURNS TABLE (id text, score real, vector_rank integer, vector_distance real, text_rank integer, text_score real,
        vector vector, attributes jsonb, arms jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_query_keys_wrapper';
COMMENT ON FUNCTION elacsym.query_keys(text, vector, jsonb, jsonb, integer, boolean, text[], integer, real, real, integer, real, text,
        jsonb, jsonb, jsonb, integer, jsonb)
    IS 'the best documents by vectors, full text or both, best first; or the first by attributes';

-- How texts and queries are understood. A target is the name of a namespace, or of an index.

CREATE FUNCTION elacsym.analyze(
        text text, language text DEFAULT 'english', stemming boolean DEFAULT NULL, stopwords boolean DEFAULT NULL,
        case_sensitive boolean DEFAULT false, ascii_folding boolean DEFAULT false, tokenizer text DEFAULT 'default',
        max_token_length integer DEFAULT NULL)
    RETURNS TABLE ("position" integer, token text, start_offset integer, end_offset integer)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_analyze_wrapper';
COMMENT ON FUNCTION elacsym.analyze(text, text, boolean, boolean, boolean, boolean, text, integer)
    IS 'the tokens of a text; offsets count characters from 0';

CREATE FUNCTION elacsym.analyze(target text, field text, text text)
    RETURNS TABLE ("position" integer, token text, start_offset integer, end_offset integer)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_analyze_field_wrapper';
COMMENT ON FUNCTION elacsym.analyze(text, text, text) IS 'the tokens of a text as a full-text field of a namespace or an index has them';

CREATE FUNCTION elacsym.parse_query(target text, query text, operator text DEFAULT 'or', field text DEFAULT NULL) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_parse_query_wrapper';
COMMENT ON FUNCTION elacsym.parse_query(text, text, text, text) IS 'how a text query of a namespace or an index is read, and what it means';

CREATE FUNCTION elacsym.highlight(
        target text, body text, query text, field text DEFAULT NULL, start_tag text DEFAULT '<b>', end_tag text DEFAULT '</b>',
        max_fragments integer DEFAULT 3, fragment_size integer DEFAULT 150)
    RETURNS text[]
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_highlight_wrapper';
COMMENT ON FUNCTION elacsym.highlight(text, text, text, text, text, text, integer, integer)
    IS 'fragments of a text with tags around what a query finds in it';

CREATE FUNCTION elacsym.highlight(
        target text, ctid tid, query text, field text DEFAULT NULL, start_tag text DEFAULT '<b>', end_tag text DEFAULT '</b>',
        max_fragments integer DEFAULT 3, fragment_size integer DEFAULT 150)
    RETURNS text[]
    LANGUAGE c STABLE PARALLEL UNSAFE COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_highlight_row_wrapper';
COMMENT ON FUNCTION elacsym.highlight(text, tid, text, text, text, text, integer, integer)
    IS 'the same for the row of an indexed table';

-- Garbage: objects in storage that nothing refers to.

CREATE FUNCTION elacsym.gc(dry_run boolean DEFAULT false)
    RETURNS TABLE (root text, object text, bytes bigint, age interval, reason text, action text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000 COST 100000
    AS 'MODULE_PATHNAME', 'elacsym_gc_wrapper';
COMMENT ON FUNCTION elacsym.gc(boolean)
    IS 'lists the objects that nothing refers to, why, and what becomes of them; without dry_run also notes those that were not known';

-- Views. They run with the rights of the extension's owner and show a role only what it may use.

CREATE VIEW elacsym.namespaces WITH (security_barrier) AS
    SELECT n.name::text AS name,
           n.id,
           pg_catalog.pg_get_userbyid(n.owner) AS owner,
           (n.schema #>> '{vector,dim}')::integer AS vector_dim,
           n.schema #>> '{vector,metric}' AS vector_metric,
           (SELECT pg_catalog.array_agg(a ->> 'name' ORDER BY a ->> 'name')
              FROM pg_catalog.jsonb_array_elements(n.schema -> 'attributes') a
             WHERE (a ->> 'id')::integer < 65534) AS attributes,
           coalesce(n.schema ->> 'id', 'int') AS id_type,
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
     WHERE n.kind = 'n' AND (pg_catalog.pg_has_role(n.owner, 'USAGE') OR EXISTS (
           SELECT FROM elacsym.namespace_grant g
            WHERE g.namespace = n.id AND g.privilege = 'r'
              AND (g.role = 0 OR pg_catalog.pg_has_role(g.role, 'USAGE'))));
COMMENT ON VIEW elacsym.namespaces IS 'the namespaces that the current role may use';

CREATE VIEW elacsym.indexes WITH (security_barrier) AS
    SELECT c.oid::regclass AS index,
           i.indrelid::regclass AS "table",
           n.id AS incarnation,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           (n.schema #>> '{vector,dim}')::integer AS vector_dim,
           n.schema #>> '{vector,metric}' AS vector_metric,
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
      JOIN pg_catalog.pg_class c ON c.oid = n.relation
      JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
     CROSS JOIN LATERAL (
           SELECT pg_catalog.count(*) AS segments,
                  coalesce(pg_catalog.sum(s.rows), 0)::bigint AS rows,
                  coalesce(pg_catalog.sum(s.deleted), 0)::bigint AS dead_rows,
                  coalesce(pg_catalog.sum(s.bytes), 0)::bigint AS bytes
             FROM elacsym.segment s WHERE s.namespace = n.id) s
     WHERE n.kind = 'i' AND pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW elacsym.indexes IS 'the elacsym indexes on tables that the current role owns';

CREATE VIEW elacsym.segments WITH (security_barrier) AS
    SELECT CASE n.kind WHEN 'i' THEN c.oid::regclass::text ELSE n.name::text END AS namespace,
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
           CASE WHEN n.schema ->> 'id' IS NULL THEN (s.info ->> 'min_key')::bigint END AS min_id,
           CASE WHEN n.schema ->> 'id' IS NULL THEN (s.info ->> 'max_key')::bigint END AS max_id,
           s.delete_version,
           s.info ->> 'root' AS root,
           s.info ->> 'path' AS path,
           CASE WHEN (s.info ->> 'parquet_bytes')::bigint > 0
                THEN ARRAY[(s.info ->> 'path') || '/rows.parquet', (s.info ->> 'path') || '/search.idx']
                ELSE ARRAY[(s.info ->> 'path') || '/search.idx'] END AS objects,
           s.stats
      FROM elacsym.segment s
      JOIN elacsym.namespace n ON n.id = s.namespace
      LEFT JOIN pg_catalog.pg_class c ON n.kind = 'i' AND c.oid = n.relation
     WHERE pg_catalog.pg_has_role(coalesce(c.relowner, n.owner), 'USAGE') OR EXISTS (
           SELECT FROM elacsym.namespace_grant g
            WHERE g.namespace = n.id AND g.privilege = 'r'
              AND (g.role = 0 OR pg_catalog.pg_has_role(g.role, 'USAGE')));
COMMENT ON VIEW elacsym.segments IS 'the segments of the namespaces and indexes that the current role may use';

CREATE VIEW elacsym.stat_engine AS SELECT * FROM elacsym.stat_engine();
COMMENT ON VIEW elacsym.stat_engine IS 'what the engine says of itself';

-- Cache.

CREATE FUNCTION elacsym.warm(target text) RETURNS TABLE (objects bigint, bytes bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 COST 100000
    AS 'MODULE_PATHNAME', 'elacsym_warm_wrapper';
COMMENT ON FUNCTION elacsym.warm(text)
    IS 'reads a namespace or an index into the cache of the engine, what queries need most first, as far as it fits';

-- Figures: metrics, activity, what namespaces cost.

CREATE FUNCTION elacsym.metrics() RETURNS text
    LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_metrics_wrapper';
COMMENT ON FUNCTION elacsym.metrics() IS 'figures of the engine and of the server in Prometheus'' text format';
REVOKE ALL ON FUNCTION elacsym.metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION elacsym.metrics() TO pg_monitor;

CREATE FUNCTION elacsym.engine_activity(
        OUT pid integer, OUT namespace uuid, OUT kind text, OUT phase text, OUT rows_done bigint, OUT rows_total bigint,
        OUT seconds double precision)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 COST 1000
    AS 'MODULE_PATHNAME', 'elacsym_engine_activity_wrapper';
COMMENT ON FUNCTION elacsym.engine_activity() IS 'the requests that the engine is answering; see the view elacsym.activity';

CREATE FUNCTION elacsym.namespace_counters(
        OUT namespace uuid, OUT since double precision, OUT queries bigint, OUT query_ms double precision,
        OUT object_requests bigint, OUT object_bytes bigint, OUT cache_hits bigint, OUT cache_misses bigint,
        OUT flushes bigint, OUT flush_ms double precision, OUT flushed_entries bigint, OUT last_flush double precision,
        OUT compactions bigint, OUT compaction_ms double precision, OUT last_compaction double precision,
        OUT maintenance_reads bigint, OUT objects_written bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 100
    AS 'MODULE_PATHNAME', 'elacsym_namespace_counters_wrapper';
COMMENT ON FUNCTION elacsym.namespace_counters()
    IS 'what namespaces and indexes of this database have cost; see the view elacsym.stat_namespaces';

CREATE FUNCTION elacsym.stat_reset() RETURNS void
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'elacsym_stat_reset_wrapper';
COMMENT ON FUNCTION elacsym.stat_reset() IS 'what elacsym.stat_namespaces counts begins anew, in this database';
REVOKE ALL ON FUNCTION elacsym.stat_reset() FROM PUBLIC;

CREATE FUNCTION elacsym.object_cost(reads bigint DEFAULT 0, writes bigint DEFAULT 0, stored_bytes bigint DEFAULT 0)
    RETURNS double precision
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'elacsym_object_cost_wrapper';
COMMENT ON FUNCTION elacsym.object_cost(bigint, bigint, bigint)
    IS 'estimate by the settings elacsym.price_…: requests to object storage, and bytes that are kept for a month';

CREATE VIEW elacsym.stat_namespaces WITH (security_barrier) AS
    SELECT CASE n.kind WHEN 'i' THEN c.oid::regclass::text ELSE n.name::text END AS namespace,
           CASE n.kind WHEN 'i' THEN 'index' ELSE 'namespace' END AS kind,
           s.segments,
           s.rows,
           s.dead_rows,
           s.bytes,
           b.buffered_rows,
           b.buffered_bytes,
           coalesce(t.queries, 0) AS queries,
           coalesce(t.query_ms, 0) AS query_ms,
           coalesce(t.object_requests, 0) AS object_requests,
           coalesce(t.object_bytes, 0) AS object_bytes,
           coalesce(t.cache_hits, 0) AS cache_hits,
           coalesce(t.cache_misses, 0) AS cache_misses,
           coalesce(t.flushes, 0) AS flushes,
           coalesce(t.flush_ms, 0) AS flush_ms,
           coalesce(t.flushed_entries, 0) AS flushed_entries,
           pg_catalog.to_timestamp(t.last_flush) AS last_flush,
           coalesce(t.compactions, 0) AS compactions,
           coalesce(t.compaction_ms, 0) AS compaction_ms,
           pg_catalog.to_timestamp(t.last_compaction) AS last_compaction,
           coalesce(t.objects_written, 0) AS objects_written,
           pg_catalog.to_timestamp(t.since) AS stats_since,
           elacsym.object_cost(reads => coalesce(t.object_requests, 0)) AS query_cost,
           elacsym.object_cost(stored_bytes => s.bytes) AS storage_cost_month,
           -- A month of 730 hours. In its first hour nothing is known of the next ones: it counts as a whole.
           elacsym.object_cost(stored_bytes => s.bytes)
               + elacsym.object_cost(
                     reads => coalesce(t.object_requests + t.maintenance_reads, 0), writes => coalesce(t.objects_written, 0))
                 * 730 / greatest(EXTRACT(epoch FROM pg_catalog.now())::double precision - t.since, 3600) * 3600 AS cost_month
      FROM elacsym.namespace n
      LEFT JOIN pg_catalog.pg_class c ON n.kind = 'i' AND c.oid = n.relation
      LEFT JOIN elacsym.namespace_counters() t ON t.namespace = n.id
     CROSS JOIN LATERAL (
           SELECT pg_catalog.count(*) AS segments,
                  coalesce(pg_catalog.sum(s.rows), 0)::bigint AS rows,
                  coalesce(pg_catalog.sum(s.deleted), 0)::bigint AS dead_rows,
                  coalesce(pg_catalog.sum(s.bytes), 0)::bigint AS bytes
             FROM elacsym.segment s WHERE s.namespace = n.id) s
     CROSS JOIN LATERAL (
           SELECT pg_catalog.count(*) AS buffered_rows,
                  coalesce(pg_catalog.sum(pg_catalog.octet_length(w.payload)), 0)::bigint AS buffered_bytes
             FROM elacsym.wal w WHERE w.namespace = n.id AND w.xid >= n.watermark) b
     WHERE CASE n.kind
           WHEN 'i' THEN c.oid IS NOT NULL AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
           ELSE pg_catalog.pg_has_role(n.owner, 'USAGE') OR EXISTS (
                SELECT FROM elacsym.namespace_grant g
                 WHERE g.namespace = n.id AND g.privilege = 'r'
                   AND (g.role = 0 OR pg_catalog.pg_has_role(g.role, 'USAGE'))) END;
COMMENT ON VIEW elacsym.stat_namespaces IS 'what the namespaces and indexes that the current role may use hold, did and cost';

CREATE VIEW elacsym.activity WITH (security_barrier) AS
    -- By its phase, which no other access method has: the index itself is not visible to others yet.
    WITH builds AS (
        SELECT p.pid,
               p.datname::text AS database,
               CASE WHEN p.datname = pg_catalog.current_database() THEN p.relid::regclass::text END AS target,
               'build'::text AS kind,
               pg_catalog.substr(p.phase, pg_catalog.length('building index: ') + 1) AS phase,
               p.tuples_done AS rows_done,
               CASE WHEN p.blocks_done > 0
                    THEN (p.tuples_done * (p.blocks_total::double precision / p.blocks_done))::bigint END AS rows_total,
               a.query_start AS started
          FROM pg_catalog.pg_stat_progress_create_index p
          JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid
         WHERE p.phase IN ('building index: reading rows', 'building index: building a segment')
    ), running AS (
        SELECT e.pid,
               a.datname::text AS database,
               CASE WHEN n.kind = 'i' AND pg_catalog.pg_has_role(c.relowner, 'USAGE') THEN c.oid::regclass::text
                    WHEN n.kind = 'n' AND (pg_catalog.pg_has_role(n.owner, 'USAGE') OR EXISTS (
                         SELECT FROM elacsym.namespace_grant g
                          WHERE g.namespace = n.id AND g.privilege = 'r'
                            AND (g.role = 0 OR pg_catalog.pg_has_role(g.role, 'USAGE')))) THEN n.name::text END AS target,
               e.kind,
               e.phase,
               e.rows_done,
               e.rows_total,
               pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => e.seconds) AS started
          FROM elacsym.engine_activity() e
          LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = e.pid
          LEFT JOIN elacsym.namespace n ON n.id = e.namespace
          LEFT JOIN pg_catalog.pg_class c ON n.kind = 'i' AND c.oid = n.relation
         WHERE NOT EXISTS (SELECT FROM builds b WHERE b.pid = e.pid)
    )
    SELECT r.*,
           CASE WHEN r.rows_done > 0 AND r.rows_total >= r.rows_done
                THEN pg_catalog.clock_timestamp()
                     + (pg_catalog.clock_timestamp() - r.started) * ((r.rows_total - r.rows_done)::double precision / r.rows_done)
                END AS eta
      FROM (SELECT * FROM builds
            UNION ALL
            SELECT pid, (SELECT d.datname::text FROM pg_catalog.pg_database d WHERE d.oid = p.database), target, 'compaction', phase,
                   rows_done, nullif(rows_total, 0), started
              FROM elacsym.compaction_progress() p
            UNION ALL
            SELECT * FROM running) r;
COMMENT ON VIEW elacsym.activity IS 'what is being done now: searches, flushes and index builds, how far they are and when they will end';

GRANT USAGE ON SCHEMA elacsym TO PUBLIC;
GRANT SELECT ON elacsym.namespaces, elacsym.indexes, elacsym.segments, elacsym.grants, elacsym.stat_engine TO PUBLIC;
GRANT SELECT ON elacsym.stat_namespaces, elacsym.activity TO PUBLIC;

-- back-pressure
CREATE FUNCTION elacsym.stat_buffer(
        OUT bytes bigint, OUT uncommitted_bytes bigint, OUT delay_ms double precision, OUT waited_seconds double precision,
        OUT refused bigint, OUT counted_at timestamptz, OUT flush_failing boolean)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL SAFE ROWS 1
    AS 'MODULE_PATHNAME', 'stat_buffer_wrapper';
COMMENT ON FUNCTION elacsym.stat_buffer() IS 'how full the write buffer of this database is, and what that costs its writers';
CREATE VIEW elacsym.stat_buffer AS SELECT * FROM elacsym.stat_buffer();
COMMENT ON VIEW elacsym.stat_buffer IS 'how full the write buffer of this database is, and what that costs its writers';
GRANT SELECT ON elacsym.stat_buffer TO PUBLIC;
