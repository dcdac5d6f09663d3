// Drizzle: the schema with its index, the DDL from drizzle-kit, the query builder for the rest.
import { createRequire } from "node:module";
import { and, cosineDistance, eq, gte, inArray, like, lt, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { index, integer, pgTable, text as textColumn, vector } from "drizzle-orm/pg-core";
import pg from "pg";
import { batches, contract, pairs, run, url } from "./steps.mjs";

const { generateDrizzleJson, generateMigration } = createRequire(import.meta.url)("drizzle-kit/api");
const { am, attributes, dim, k, opclass, options, ours } = contract;
const pool = new pg.Pool({ connectionString: url, max: 1 });
const db = drizzle(pool);

const items = pgTable(
  "items",
  {
    id: integer("id").primaryKey(),
    body: textColumn("body").notNull(),
    category: textColumn("category"),
    year: integer("year"),
    embedding: vector("embedding", { dimensions: dim }),
  },
  (t) => {
    const others = Object.entries(attributes).map(([name, op]) => (op ? t[name].op(op) : t[name]));
    return [index("items_search").using(am, t.embedding.op(opclass), ...others).with(options)];
  },
);

const conditions = {
  all: undefined,
  category: eq(items.category, "db"),
  years: and(gte(items.year, 2010), lt(items.year, 2015)),
  either: inArray(items.category, ["web", "ml"]),
  rare: eq(items.category, "rare"),
  like: like(items.body, "%zebra%"),
  moved: eq(items.category, "moved"),
};

const nearest = (on, query, where) => {
  const distance = cosineDistance(items.embedding, query);
  return on.select({ id: items.id, distance }).from(items).where(conditions[where]).orderBy(distance).limit(k);
};

await run({
  async create() {
    await db.execute(sql`CREATE EXTENSION IF NOT EXISTS vector`);
    if (ours) await db.execute(sql`CREATE EXTENSION IF NOT EXISTS elacsym`);
    const before = generateDrizzleJson({});
    for (const statement of await generateMigration(before, generateDrizzleJson({ items }, before.id))) await db.execute(sql.raw(statement));
  },
  async insert(rows) {
    for (const batch of batches(rows)) await db.insert(items).values(batch);
  },
  async nearest(query, where) {
    return pairs(await nearest(db, query, where));
  },
  async generic(query) {
    return await db.transaction(async (tx) => {
      await tx.execute(sql`SET LOCAL plan_cache_mode = force_generic_plan`);
      return pairs(await nearest(tx, query, "all"));
    });
  },
  async update(id, embedding, category) {
    await db.update(items).set({ embedding, category }).where(eq(items.id, id));
  },
  async remove(ids) {
    await db.delete(items).where(inArray(items.id, ids));
  },
  async raw(statement, values) {
    // sql`` numbers the values in the order they appear in
    const parts = statement.split(/\$\d/);
    const query = sql.empty();
    parts.forEach((part, i) => {
      query.append(sql.raw(part));
      if (i < values.length) query.append(sql`${values[i]}`);
    });
    return (await db.execute(query)).rows;
  },
  async close() {
    await pool.end();
  },
});
