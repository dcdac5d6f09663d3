// node-postgres with pgvector's type parser.
import pg from "pg";
import pgvector from "pgvector/pg";
import { CONDITIONS, batches, contract, pairs, pooled, run, text, url } from "./steps.mjs";

const { am, dim, k, operator, ours, indexColumns, indexOptions } = contract;
const client = new pg.Client({ connectionString: url });
await client.connect();
// a named statement is prepared once in its session; through a pooler the next transaction has another session
const named = (name) => (pooled ? {} : { name });

await run({
  async create() {
    await client.query("CREATE EXTENSION IF NOT EXISTS vector");
    if (ours) await client.query("CREATE EXTENSION IF NOT EXISTS elacsym");
    await pgvector.registerTypes(client);
    await client.query(`CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL, category text, year int, embedding vector(${dim}))`);
  },
  async insert(rows) {
    for (const batch of batches(rows)) {
      const values = batch.flatMap((r) => [r.id, r.body, r.category, r.year, r.embedding && pgvector.toSql(r.embedding)]);
      const places = batch.map((_, i) => `(${[1, 2, 3, 4, 5].map((n) => `$${i * 5 + n}`)})`);
      await client.query(`INSERT INTO items VALUES ${places}`, values);
    }
    await client.query(`CREATE INDEX CONCURRENTLY IF NOT EXISTS items_search ON items USING ${am} (${indexColumns}) WITH (${indexOptions})`);
  },
  async nearest(query, where) {
    const [condition, values] = CONDITIONS[where];
    const sql = `SELECT id, embedding ${operator} $1 AS distance FROM items ${condition} ORDER BY embedding ${operator} $1 LIMIT ${k}`;
    return pairs((await client.query({ text: sql, values: [pgvector.toSql(query), ...values], ...named(`nearest ${where}`) })).rows);
  },
  async generic(query) {
    await client.query("BEGIN");
    await client.query("SET LOCAL plan_cache_mode = force_generic_plan");
    // the vector comes back as an array
    const sql = `SELECT id, embedding FROM items ORDER BY embedding ${operator} $1 LIMIT $2`;
    const { rows } = await client.query({ text: sql, values: [text(query), k], ...named("generic") });
    await client.query("COMMIT");
    if (rows.some((r) => r.embedding.length !== dim)) throw new Error("the vector did not come back as an array");
    return pairs(rows);
  },
  async update(id, embedding, category) {
    await client.query("UPDATE items SET embedding = $1, category = $2 WHERE id = $3", [pgvector.toSql(embedding), category, id]);
  },
  async remove(ids) {
    await client.query("DELETE FROM items WHERE id = ANY($1)", [ids]);
  },
  async raw(sql, values) {
    return (await client.query(sql, values)).rows;
  },
  async close() {
    await client.end();
  },
});
