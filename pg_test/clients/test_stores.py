"""Vector stores of frameworks: scripts in stores/, in an environment of their own, with vectors from a fake model."""

import pytest

from harness import pg_major

import contract
from documentation import block

# the stores search documents by vector and by what they call metadata
WITHOUT = {"like"}


def test_langchain(app, run_store):
    contract.check(run_store(app, "langchain", DOCUMENTED=block("langchain")), without=WITHOUT)
    assert app.check_plans("items_search") >= 1
    app.check_integrity("items_search")


def test_langchain_legacy(app, run_store):
    contract.check(run_store(app, "langchain_legacy"), without=WITHOUT)
    assert app.check_plans("items_search", unfiltered=r"WHERE \S+\.collection_id = \S+ ORDER BY") >= 1
    app.check_integrity("items_search")


@pytest.mark.every_pg
@pytest.mark.parametrize("halfvec", ["0", "1"] if pg_major() >= 16 else ["0"])  # which comes with the real pgvector
def test_llama_index(app, run_store, halfvec):
    hybrid = block("llama_index_hybrid")
    if halfvec == "1":
        hybrid = hybrid.replace("vector_cosine_ops", "halfvec_cosine_ops")
    found = run_store(app, "llama", HALFVEC=halfvec, DOCUMENTED=block("llama_index"), DOCUMENTED_HYBRID=hybrid)
    contract.check(found, without=WITHOUT)
    assert app.check_plans("data_items_embedding_idx", "items_search", unfiltered="^(?!.*WHERE)") >= 1
    app.check_integrity("data_items_embedding_idx", *["items_search"] * contract.OURS)
