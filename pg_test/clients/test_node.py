"""The clients of Node.js: one script each in node/, which takes the steps of contract.py and prints what it saw."""

import pytest

import contract

# script → its metric
CLIENTS = {"pg": "cosine", "drizzle": "cosine", "prisma": "cosine", "sequelize": "l2", "knex": "l2", "typeorm": "cosine"}


def through(app, run_node, script, metric, **env):
    contract.check(run_node(app, script, metric, **env), metric)
    assert app.check_plans("items_search", metric=metric) >= 1
    app.check_integrity("items_search")


@pytest.mark.parametrize("script", CLIENTS)
def test_node(app, run_node, script):
    through(app, run_node, script, CLIENTS[script])


def test_node_postgres_through_pgbouncer(pooled_app, run_node):
    through(pooled_app, run_node, "pg", "ip", POOLED="1")
