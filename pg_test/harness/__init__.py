"""Throw-away PostgreSQL clusters, S3 servers and load for the tests. See pg_test/README.md."""

from .cluster import Cluster, ClusterError
from .env import ELACSYM_INSTALLED, PG_CONFIG, REPO, SHARED_DATA, STATE, free_port, give_to_pg_user, pg_major
from .faults import Fault, FaultyS3
from .load import BackgroundLoad
from .moto import Moto
from .pgbouncer import PgBouncer
from .small_disk import SmallDisk
from .wait import wait_until

__all__ = [
    "BackgroundLoad",
    "Cluster",
    "ClusterError",
    "ELACSYM_INSTALLED",
    "Fault",
    "FaultyS3",
    "Moto",
    "PG_CONFIG",
    "PgBouncer",
    "REPO",
    "SHARED_DATA",
    "STATE",
    "SmallDisk",
    "free_port",
    "give_to_pg_user",
    "pg_major",
    "wait_until",
]
