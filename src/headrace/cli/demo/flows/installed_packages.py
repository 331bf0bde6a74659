"""An ETL over the Python packages installed here: read their metadata and files, load SQLite, report.

python installed_packages.py [packages.db]
"""

from __future__ import annotations

import importlib.metadata
import re
import sqlite3
import sys
from contextlib import closing
from importlib.metadata import Distribution
from pathlib import Path
from typing import NamedTuple

from headrace import flow, get_run_logger, task

SHORT = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
}
"""Classifiers of licences, as newer packages name them."""


class Package(NamedTuple):
    """What is known of one installed package."""

    name: str
    version: str
    licence: str
    files: int
    bytes: int
    missing: int
    """Files that its record lists and that are not there."""
    needs: list[str]
    """Names of the packages it cannot do without, optional ones left out."""


@task
def find() -> list[Distribution]:
    """Return the installed packages; of two with one name, the one that an import finds."""
    found: dict[str, Distribution] = {}
    nameless = 0
    for package in importlib.metadata.distributions():
        name = first(package, "Name")
        if name:
            found.setdefault(plain(name), package)
        else:
            nameless += 1
    if nameless:
        get_run_logger().warning(
            "%d folders look like packages and have no name; they are left out", nameless
        )
    return list(found.values())


@task(task_run_name="extract {package.name}")
def extract(package: Distribution) -> Package:
    """Read one package's metadata, and the size of each of its files from the disk."""
    files = bytes_ = missing = 0
    for entry in package.files or ():
        try:
            bytes_ += Path(str(entry.locate())).stat().st_size
            files += 1
        except OSError:
            missing += 1
    needs = {plain(name) for line in package.requires or () if (name := required_name(line))}
    name, version = first(package, "Name") or "?", first(package, "Version") or "?"
    return Package(name, version, licence_of(package), files, bytes_, missing, sorted(needs))


def plain(name: str) -> str:
    """Return a package's name as the index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_name(line: str) -> str | None:
    """Return the name in a requirement; ``None`` when it is for an extra only, or cannot be read."""
    wanted, _, marker = line.partition(";")
    name = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", wanted)
    return name[1] if name and "extra" not in marker else None


def first(package: Distribution, field: str) -> str | None:
    """Return a field of the metadata; ``None`` when it is not there, or there is no metadata at all."""
    found = package.metadata.get_all(field) if package.metadata else None
    return str(found[0]).strip() if found else None


def licence_of(package: Distribution) -> str:
    """Return a licence in a few words: the expression, else the classifier, else the first line of the field."""
    expression, field = first(package, "License-Expression"), first(package, "License")
    if expression:
        return expression
    for classifier in package.metadata.get_all("Classifier") or ():
        if classifier.startswith("License :: ") and classifier != "License :: OSI Approved":
            told = str(classifier).rpartition(" :: ")[2]
            return SHORT.get(told, told)
    return field.splitlines()[0][:40] if field else "not told"


@task(retries=2, retry_delay_seconds=1)
def load(packages: list[Package], database: Path) -> int:
    """Write all packages into a fresh SQLite file in one transaction; return how many."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(
            "DROP TABLE IF EXISTS packages; DROP TABLE IF EXISTS needs;"
            "CREATE TABLE packages (name TEXT, version TEXT, licence TEXT, files INT, bytes INT, missing INT);"
            "CREATE TABLE needs (package TEXT, needed TEXT);"
        )
        connection.executemany("INSERT INTO packages VALUES (?, ?, ?, ?, ?, ?)", [p[:6] for p in packages])
        connection.executemany(
            "INSERT INTO needs VALUES (?, ?)",
            [(plain(p.name), needed) for p in packages for needed in p.needs],
        )
    return len(packages)


@task(log_prints=True)
def report(database: Path) -> None:
    """Print what the loaded tables tell."""
    with closing(sqlite3.connect(database)) as connection:
        packages, files, size, missing = connection.execute(
            "SELECT count(*), sum(files), sum(bytes), sum(missing) FROM packages"
        ).fetchone()
        print(
            f"{packages} packages, {files or 0:,} files, {(size or 0) / 1e6:,.1f} MB; {missing or 0} files missing"
        )
        print("largest:")
        for name, version, bytes_, count in connection.execute(
            "SELECT name, version, bytes, files FROM packages ORDER BY bytes DESC, name LIMIT 10"
        ):
            print(f"{bytes_ / 1e6:9.1f} MB  {name} {version} ({count:,} files)")
        print("licences: " + told(connection, "SELECT licence, count(*) FROM packages GROUP BY 1"))
        print("most needed: " + told(connection, "SELECT needed, count(*) FROM needs GROUP BY 1"))


def told(connection: sqlite3.Connection, counts: str) -> str:
    """Return the five most frequent rows of a query for ``(text, count)``."""
    rows = connection.execute(f"{counts} ORDER BY 2 DESC, 1 LIMIT 5").fetchall()
    return ", ".join(f"{text} {count}" for text, count in rows) or "none"


@flow
def installed_packages(database: Path = Path("packages.db")) -> int:
    """Load every installed package into a database; one that cannot be read does not stop the others."""
    futures = extract.map(find())
    futures.wait()
    packages = [future.result() for future in futures if future.state.is_completed()]
    loaded = load(packages, database)
    report(database)
    return loaded


if __name__ == "__main__":
    installed_packages(Path(sys.argv[1])) if len(sys.argv) > 1 else installed_packages()
