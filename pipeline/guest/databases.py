"""Databases whose files are in a guest: an image is no backup of a database in use.

Each is found by a file that it makes itself, so an installed but empty server does not count.
"""

from __future__ import annotations

from pipeline.guest import globs
from pipeline.guest.tree import Files
from pipeline.text import clean

_PLACES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("mysql", "/var/lib/mysql", ("ibdata1", "mysql", "aria_log_control")),
    ("postgresql", "/var/lib/postgresql/*/*", ("PG_VERSION",)),
    ("postgresql", "/var/lib/pgsql/data", ("PG_VERSION",)),
    ("postgresql", "/var/lib/pgsql/*/data", ("PG_VERSION",)),
    ("mongodb", "/var/lib/mongodb", ("WiredTiger", "mongod.lock")),
    ("mongodb", "/var/lib/mongo", ("WiredTiger", "mongod.lock")),
    ("redis", "/var/lib/redis", ("dump.rdb", "appendonly.aof", "appendonlydir")),
    ("mssql", "/var/opt/mssql/data", ("master.mdf",)),
    ("ldap", "/var/lib/ldap", ("data.mdb", "id2entry.bdb")),
    ("ldap", "/var/lib/openldap/openldap-data", ("data.mdb",)),
    ("samba-ad", "/var/lib/samba/private", ("sam.ldb",)),
    ("cassandra", "/var/lib/cassandra", ("data",)),
    ("couchdb", "/var/lib/couchdb", ("_dbs.couch",)),
    ("elasticsearch", "/var/lib/elasticsearch", ("nodes", "_state")),
    ("influxdb", "/var/lib/influxdb", ("meta", "engine")),
    ("etcd", "/var/lib/etcd", ("member", "default")),
)
_WINDOWS_SQL = "/Program Files/Microsoft SQL Server"


def linux(files: Files) -> list[str]:
    """``engine: directory`` for each database that has files."""
    found = []
    for engine, pattern, markers in _PLACES:
        for directory in filter(files.is_directory, globs.expand(files, pattern)):
            files.expect(*(f"{directory}/{marker}" for marker in markers))
            if any(files.entry(f"{directory}/{marker}") for marker in markers):
                found.append(clean(f"{engine}: {directory}", 200))
    return found


def windows(files: Files) -> list[str]:
    """The same for Microsoft SQL Server in its usual place."""
    found = []
    for name in files.names(_WINDOWS_SQL):
        directory = f"{_WINDOWS_SQL}/{name}/MSSQL/DATA"
        if any(item.lower().endswith(".mdf") for item in files.names(directory)):
            found.append(clean(f"mssql: {directory}", 200))
    return found
