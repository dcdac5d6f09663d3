// Knex: a migration with createTable and table.index, the query builder for the rest. L2 distance.
import createKnex from "knex";
import pgvector from "pgvector/knex";
import { batches, contract, pairs, run, url } from "./steps.mjs";

const { am, attributes, dim, k, opclass, ours } = contract;
const knex = createKnex({ client: "pg", connection: url, pool: { min: 1, max: 1 } });

class Migrations {
  getMigrations = async () => ["001_items"];
  getMigrationName = (name) => name;
  getMigration = async () => ({
    async up(db) {
      await db.schema.createExtensionIfNotExists("vector");
      if (ours) await db.schema.createExtensionIfNotExists("elacsym");
      await db.schema.createTable("items", (table) => {
        table.integer("id").primary();
        table.text("body").notNullable();
        table.string("category");
        table.integer("year");
        table.vector("embedding", { dimensions: dim });
      });
      await db.schema.alterTable("items", (table) => {
        const others = Object.entries(attributes).map(([name, op]) => (op ? db.raw(`${name} ${op}`) : name));
        table.index([db.raw(`embedding ${opclass}`), ...others], "items_search", am);
      });
    },
    async down(db) {
      await db.schema.dropTable("items");
    },
  });
}

const conditions = {
  all: (q) => q,
  category: (q) => q.where({ category: "db" }),
  years: (q) => q.whereBetween("year", [2010, 2014]),
  either: (q) => q.whereIn("category", ["web", "ml"]),
  rare: (q) => q.where({ category: "rare" }),
  like: (q) => q.whereLike("body", "%zebra%"),
  moved: (q) => q.where({ category: "moved" }),
};

const nearest = (db, query, where) => {
  const distance = db.raw("?? <-> ? AS distance", ["embedding", pgvector.toSql(query)]);
  return conditions[where](db("items").select("id", distance)).orderBy(knex.l2Distance("embedding", query)).limit(k);
};

await run({
  async create() {
    await knex.migrate.latest({ migrationSource: new Migrations() });
  },
  async insert(rows) {
    const values = rows.map((r) => ({ ...r, embedding: r.embedding && pgvector.toSql(r.embedding) }));
    for (const batch of batches(values)) await knex("items").insert(batch);
  },
  async nearest(query, where) {
    return pairs(await nearest(knex, query, where));
  },
  async generic(query) {
    return await knex.transaction(async (tx) => {
      await tx.raw("SET LOCAL plan_cache_mode = force_generic_plan");
      return pairs(await nearest(tx, query, "all"));
    });
  },
  async update(id, embedding, category) {
    await knex("items").where({ id }).update({ embedding: pgvector.toSql(embedding), category });
  },
  async remove(ids) {
    await knex("items").whereIn("id", ids).delete();
  },
  async raw(statement, values) {
    return (await knex.raw(statement.replace(/\$\d/g, "?"), values)).rows;
  },
  async close() {
    await knex.destroy();
  },
});
