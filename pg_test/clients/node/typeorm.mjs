// TypeORM: an entity with a vector column, the migration and the index entry of docs/clients.md, repository and query builder.
import { DataSource, EntitySchema, In } from "typeorm";
import { SearchIndex, search } from "./documented_typeorm.mjs";
import { batches, contract, pairs, run, text, url } from "./steps.mjs";

const { dim, k, operator } = contract;

const Item = new EntitySchema({
  name: "Item",
  tableName: "items",
  columns: {
    id: { type: "integer", primary: true },
    body: { type: "text" },
    category: { type: "varchar", nullable: true },
    year: { type: "integer", nullable: true },
    embedding: { type: "vector", length: dim, nullable: true },
  },
  indices: [search],
});

const source = new DataSource({ type: "postgres", url, entities: [Item], migrations: [SearchIndex], poolSize: 1 });
await source.initialize(); // creates the extension vector, because an entity needs it
const items = source.getRepository(Item);

const conditions = {
  all: ["TRUE", {}],
  category: ["item.category = :category", { category: "db" }],
  years: ["item.year BETWEEN :low AND :high", { low: 2010, high: 2014 }],
  either: ["item.category IN (:...categories)", { categories: ["web", "ml"] }],
  rare: ["item.category = :category", { category: "rare" }],
  like: ["item.body LIKE :pattern", { pattern: "%zebra%" }],
  moved: ["item.category = :category", { category: "moved" }],
};

async function nearest(manager, query, where) {
  const builder = manager
    .createQueryBuilder(Item, "item")
    .select("item.id", "id")
    .addSelect(`item.embedding ${operator} :embedding`, "distance")
    .orderBy(`item.embedding ${operator} :embedding`)
    .setParameter("embedding", text(query))
    .limit(k);
  return pairs(await (where === "all" ? builder : builder.where(...conditions[where])).getRawMany());
}

await run({
  async create() {
    await source.synchronize(); // the table
    await source.runMigrations(); // the index
    await source.synchronize(); // a second start of the application must leave it alone
  },
  async insert(rows) {
    for (const batch of batches(rows)) await items.insert(batch);
  },
  nearest: (query, where) => nearest(source.manager, query, where),
  async generic(query) {
    return await source.transaction(async (manager) => {
      await manager.query("SET LOCAL plan_cache_mode = force_generic_plan");
      return await nearest(manager, query, "all");
    });
  },
  async update(id, embedding, category) {
    await items.save({ ...(await items.findOneBy({ id })), embedding, category });
  },
  async remove(ids) {
    await items.delete({ id: In(ids) });
  },
  raw: (statement, values) => source.query(statement, values),
  async close() {
    await source.destroy();
  },
});
