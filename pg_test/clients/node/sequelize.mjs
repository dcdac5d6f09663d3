// Sequelize: a model with its index, sync(), finders. L2 distance; the query vector is part of the SQL text.
import "pgvector/sequelize";
import { DataTypes, Op, QueryTypes, Sequelize } from "sequelize";
import { l2Distance } from "pgvector/sequelize";
import { contract, pairs, run, url } from "./steps.mjs";

const { am, attributes, dim, k, opclass, ours } = contract;
const sequelize = new Sequelize(url, { logging: false, pool: { max: 1 } });

const Item = sequelize.define(
  "Item",
  {
    id: { type: DataTypes.INTEGER, primaryKey: true },
    body: { type: DataTypes.TEXT, allowNull: false },
    category: DataTypes.STRING,
    year: DataTypes.INTEGER,
    embedding: DataTypes.VECTOR(dim),
  },
  {
    tableName: "items",
    timestamps: false,
    indexes: [
      {
        name: "items_search",
        using: am,
        fields: [{ name: "embedding", operator: opclass }, ...Object.entries(attributes).map(([name, operator]) => (operator ? { name, operator } : name))],
      },
    ],
  },
);

const conditions = {
  all: {},
  category: { category: "db" },
  years: { year: { [Op.gte]: 2010, [Op.lt]: 2015 } },
  either: { category: ["web", "ml"] },
  rare: { category: "rare" },
  like: { body: { [Op.like]: "%zebra%" } },
  moved: { category: "moved" },
};

async function nearest(query, where, transaction) {
  const distance = l2Distance("embedding", query, sequelize);
  return pairs(await Item.findAll({ attributes: ["id", [distance, "distance"]], where: conditions[where], order: distance, limit: k, raw: true, transaction }));
}

await run({
  async create() {
    await sequelize.query("CREATE EXTENSION IF NOT EXISTS vector");
    if (ours) await sequelize.query("CREATE EXTENSION IF NOT EXISTS elacsym");
    await sequelize.sync();
  },
  async insert(rows) {
    await Item.bulkCreate(rows.slice(0, 1000));
    // Another start of the application: it "changes" every column to the type that it has. PostgreSQL then makes every index anew
    // in the catalog, under a new OID, and lets the new one keep the old one's files.
    await sequelize.sync({ alter: true });
    await Item.bulkCreate(rows.slice(1000));
  },
  nearest: (query, where) => nearest(query, where),
  async generic(query) {
    return await sequelize.transaction(async (transaction) => {
      await sequelize.query("SET LOCAL plan_cache_mode = force_generic_plan", { transaction });
      return await nearest(query, "all", transaction);
    });
  },
  async update(id, embedding, category) {
    const item = await Item.findByPk(id);
    await item.update({ embedding, category });
  },
  async remove(ids) {
    await Item.destroy({ where: { id: ids } });
  },
  async raw(statement, bind) {
    return await sequelize.query(statement, { bind, type: statement.startsWith("SELECT") ? QueryTypes.SELECT : QueryTypes.RAW });
  },
  async close() {
    await sequelize.close();
  },
});
