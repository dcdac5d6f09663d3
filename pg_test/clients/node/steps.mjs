// What contract.py says every client does, for clients in JavaScript. The data comes as JSON on stdin; the answers leave as JSON
// on stdout. A client has: create, insert, nearest, generic, update, remove, raw (SQL with $1, $2 → rows as objects), close.
import { readFileSync } from "node:fs";

export const contract = JSON.parse(readFileSync(0, "utf8"));
export const url = process.env.DATABASE_URL;
export const pooled = process.env.POOLED === "1";

const UNCHANGED = ["all", "category", "years", "either", "rare", "like"];

// condition in SQL and its values, for clients that write SQL; the first value is $2
export const CONDITIONS = {
  all: ["", []],
  category: ["WHERE category = $2", ["db"]],
  years: ["WHERE year >= $2 AND year < $3", [2010, 2015]],
  either: ["WHERE category = ANY($2)", [["web", "ml"]]],
  rare: ["WHERE category = $2", ["rare"]],
  like: ["WHERE body LIKE $2", ["%zebra%"]],
  moved: ["WHERE category = $2", ["moved"]],
};

export const text = (vector) => JSON.stringify(vector);
// rows of a query → [[id, distance or null]]
export const pairs = (rows) => rows.map((r) => [Number(r.id ?? r.key), r.distance ?? r.score ?? null]);

export function batches(rows, size = 500) {
  return Array.from({ length: Math.ceil(rows.length / size) }, (_, i) => rows.slice(i * size, (i + 1) * size));
}

function filled(template) {
  const values = { index: "items_search", table: "items", q: "$1", words: "$2" };
  return template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export async function run(client) {
  try {
    const { query, moved, ours } = contract;
    await client.create();
    await client.insert(contract.rows);
    await client.raw("ANALYZE", []);
    const seen = {};
    for (const where of UNCHANGED) seen[where] = await client.nearest(query, where);
    seen.generic = await client.generic(query);
    for (const { id, embedding } of moved) await client.update(id, embedding, "moved");
    seen["moved"] = await client.nearest(query, "moved");
    seen["all moved"] = await client.nearest(query, "all");
    await client.remove(seen["all moved"].slice(0, 3).map(([id]) => id));
    seen["all deleted"] = await client.nearest(query, "all");
    if (ours) {
      seen["hybrid"] = pairs(await client.raw(filled(contract.hybrid), [text(query), "zebra"]));
      seen["hybrid keys"] = pairs(await client.raw(filled(contract.hybridKeys), [text(query), "zebra"]));
    }
    console.log(JSON.stringify(seen));
  } finally {
    await client.close();
  }
}
