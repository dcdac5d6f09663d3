// Prisma with its driver adapter for node-postgres: models where it has words for it, $queryRaw for vectors.
import { PrismaPg } from "@prisma/adapter-pg";
import prismaClient from "@prisma/client";
import pgvector from "pgvector";
import { contract, pairs, run, url } from "./steps.mjs";

const { Prisma, PrismaClient } = prismaClient;
const { am, dim, k, ours, indexColumns, indexOptions } = contract;
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: 1 }) });

const conditions = {
  all: Prisma.empty,
  category: Prisma.sql`WHERE category = ${"db"}`,
  years: Prisma.sql`WHERE year >= ${2010} AND year < ${2015}`,
  either: Prisma.sql`WHERE category IN (${Prisma.join(["web", "ml"])})`,
  rare: Prisma.sql`WHERE category = ${"rare"}`,
  like: Prisma.sql`WHERE body LIKE ${"%zebra%"}`,
  moved: Prisma.sql`WHERE category = ${"moved"}`,
};

const nearest = (db, query, where) => {
  const vector = pgvector.toSql(query);
  return db.$queryRaw`SELECT id, embedding <=> ${vector}::vector AS distance FROM items ${conditions[where]}
    ORDER BY embedding <=> ${vector}::vector LIMIT ${k}`;
};

await run({
  async create() {
    // what a migration's SQL holds
    await prisma.$executeRaw`CREATE EXTENSION IF NOT EXISTS "vector"`;
    if (ours) await prisma.$executeRaw`CREATE EXTENSION IF NOT EXISTS "elacsym"`;
    await prisma.$executeRawUnsafe(
      `CREATE TABLE "items" ("id" INTEGER NOT NULL, "body" TEXT NOT NULL, "category" TEXT, "year" INTEGER, "embedding" vector(${dim}),
        CONSTRAINT "items_pkey" PRIMARY KEY ("id"))`,
    );
    await prisma.$executeRawUnsafe(`CREATE INDEX "items_search" ON "items" USING ${am} (${indexColumns}) WITH (${indexOptions})`);
  },
  async insert(rows) {
    // createMany cannot set an unsupported column; the index sees each row without its vector first
    await prisma.item.createMany({ data: rows.map(({ embedding, ...rest }) => rest) });
    const set = rows.filter((r) => r.embedding).map((r) => ({ id: r.id, embedding: pgvector.toSql(r.embedding) }));
    await prisma.$executeRaw`UPDATE items SET embedding = v.embedding::vector
      FROM jsonb_to_recordset(${JSON.stringify(set)}::jsonb) AS v (id int, embedding text) WHERE items.id = v.id`;
  },
  async nearest(query, where) {
    return pairs(await nearest(prisma, query, where));
  },
  async generic(query) {
    return await prisma.$transaction(async (tx) => {
      await tx.$executeRaw`SET LOCAL plan_cache_mode = force_generic_plan`;
      return pairs(await nearest(tx, query, "all"));
    });
  },
  async update(id, embedding, category) {
    await prisma.$transaction([
      prisma.item.update({ where: { id }, data: { category } }),
      prisma.$executeRaw`UPDATE items SET embedding = ${pgvector.toSql(embedding)}::vector WHERE id = ${id}`,
    ]);
  },
  async remove(ids) {
    await prisma.item.deleteMany({ where: { id: { in: ids } } });
  },
  async raw(statement, values) {
    // what reaches the server as text needs its type where nothing says it
    return statement === "ANALYZE" ? await prisma.$executeRaw`ANALYZE` : await prisma.$queryRawUnsafe(statement.replace("$1", "$1::vector"), ...values);
  },
  async close() {
    await prisma.$disconnect();
  },
});
