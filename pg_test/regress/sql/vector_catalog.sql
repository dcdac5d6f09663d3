-- The catalogues' rows: what drivers, ORMs, pg_dump and the planner see.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector;

SELECT extrelocatable, n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE extname = 'vector';
SELECT typname, typnamespace::regnamespace, typlen, typbyval, typtype, typcategory, typispreferred, typdelim, typalign, typstorage, typinput, typoutput, typreceive, typsend, typmodin, typmodout, typanalyze, typarray::regtype
FROM pg_type WHERE oid = to_regtype('vector') \gx

SELECT p.oid::regprocedure, p.prorettype::regtype, p.provolatile, p.proisstrict, p.proparallel, p.prokind, p.proretset, p.procost, p.proleakproof
FROM pg_proc AS p JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'vector'
WHERE p.oid::regprocedure::text !~ 'halfvec|sparsevec|ivfflat|hnsw' AND p.prorettype::regtype::text !~ 'halfvec|sparsevec' ORDER BY p.oid::regprocedure::text COLLATE "C";

SELECT o.oid::regoperator, o.oprresult::regtype, o.oprcode::oid::regprocedure, o.oprcom::regoperator, o.oprnegate::regoperator, o.oprrest, o.oprjoin, o.oprcanhash, o.oprcanmerge
FROM pg_operator AS o JOIN pg_depend AS d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e' JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'vector'
WHERE o.oprleft IN ('vector'::regtype, 'bit'::regtype) OR o.oprright = 'vector'::regtype ORDER BY o.oid::regoperator::text COLLATE "C";

SELECT c.castsource::regtype, c.casttarget::regtype, c.castfunc::regprocedure, c.castcontext, c.castmethod
FROM pg_cast AS c JOIN pg_depend AS d ON d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'e' JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'vector'
WHERE 'vector'::regtype IN (c.castsource, c.casttarget) AND c.castsource::regtype::text || c.casttarget::regtype::text !~ 'halfvec|sparsevec' ORDER BY c.castsource::regtype::text COLLATE "C", c.casttarget::regtype::text COLLATE "C";

SELECT a.aggfnoid::regprocedure, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggtranstype::regtype, a.agginitval, a.aggkind, a.aggfinalmodify
FROM pg_aggregate AS a WHERE a.aggfnoid::regprocedure::text IN ('avg(vector)', 'sum(vector)') ORDER BY 1;

SELECT c.opcname, m.amname, f.opfname, c.opcintype::regtype, c.opcdefault, c.opckeytype::regtype
FROM pg_opclass AS c JOIN pg_am AS m ON m.oid = c.opcmethod JOIN pg_opfamily AS f ON f.oid = c.opcfamily WHERE c.opcintype = 'vector'::regtype AND m.amname = 'btree';
SELECT a.amopstrategy, a.amopopr::regoperator, a.amoppurpose FROM pg_amop AS a JOIN pg_opfamily AS f ON f.oid = a.amopfamily JOIN pg_am AS m ON m.oid = f.opfmethod WHERE f.opfname = 'vector_ops' AND m.amname = 'btree' ORDER BY 1;
SELECT a.amprocnum, a.amproc::regprocedure FROM pg_amproc AS a JOIN pg_opfamily AS f ON f.oid = a.amprocfamily JOIN pg_am AS m ON m.oid = f.opfmethod WHERE f.opfname = 'vector_ops' AND m.amname = 'btree' ORDER BY 1;

-- in a database of its own: in another schema, moved, dropped, made again
SELECT current_database() AS home \gset
CREATE DATABASE vector_catalog_test;
\c vector_catalog_test
CREATE SCHEMA elsewhere;
CREATE EXTENSION vector SCHEMA elsewhere;
CREATE TABLE kept (v elsewhere.vector(2));
INSERT INTO kept VALUES ('[1,2]');
SELECT v OPERATOR(elsewhere.<->) '[1,3]' AS distance, pg_typeof(v) FROM kept;
ALTER EXTENSION vector SET SCHEMA public;
SELECT v <-> '[1,3]' AS distance, pg_typeof(v) FROM kept;
DROP EXTENSION vector;
DROP TABLE kept;
DROP EXTENSION vector;
SELECT to_regtype('vector'), count(*) FROM pg_operator WHERE oprcode::text LIKE 'vector%';
CREATE EXTENSION vector;
SELECT '[1,2]'::vector;
\c :home
DROP DATABASE vector_catalog_test;
