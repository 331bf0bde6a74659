"""Finding flows without executing anything."""

from __future__ import annotations

from pathlib import Path

from headrace.sources.finding import find_flows, flows_of

FILE = """
import headrace
import headrace.flows
import prefect as old
from headrace import flow, task
from headrace import flow as decorate
from headrace import flows
import other

raise SystemExit("this file must not be executed")

@flow
def bare(): ...

@flow(name="x")
def called(): ...

@decorate
async def renamed(): ...

@headrace.flow(retries=1)
def by_module(): ...

@headrace.flows.flow
def by_path(): ...

@flows.flow
def by_submodule(): ...

@old.flow
def moving_over(): ...

@task
def no_flow(): ...

@other.flow
def of_another(): ...

@staticmethod
@flow
def decorated_twice(): ...

def plain():
    @flow
    def inner(): ...
"""


def test_every_way_to_write_the_decorator_is_found(tmp_path: Path) -> None:
    """Aliases, modules, calls; not tasks, other libraries or what is within functions."""
    (tmp_path / "flows.py").write_text(FILE)

    names = "bare called renamed by_module by_path by_submodule moving_over decorated_twice"
    assert flows_of(tmp_path / "flows.py") == names.split()


def test_a_folder_is_read_in_order_and_its_environments_are_not(tmp_path: Path) -> None:
    """Broken files are passed over: they are somebody's work in progress."""
    one = "from headrace import flow\n@flow\ndef {}(): ...\n"
    for place in (
        "z.py",
        "a/b.py",
        "a/deep/c.py",
        ".git/no.py",
        "node_modules/no.py",
        "own/no.py",
        "a/x.txt",
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(one.format(Path(place).stem))
    (tmp_path / "own" / "pyvenv.cfg").touch()
    (tmp_path / "broken.py").write_text("from headrace import flow\n@flow\ndef (")
    (tmp_path / "nul.py").write_bytes(b"# flow \0\n")
    (tmp_path / "latin.py").write_bytes(b"# flow \xff\n")
    (tmp_path / "loop").symlink_to(tmp_path)

    found = [(str(path), name) for path, name in find_flows(tmp_path)]

    assert found == [("a/b.py", "b"), ("a/deep/c.py", "c"), ("z.py", "z")]


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    """It may have been deleted meanwhile."""
    assert flows_of(tmp_path / "gone.py") == []
