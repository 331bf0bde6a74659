"""Loading flows: by file and by module, always as the source is now, and every way in which it can go wrong."""

from __future__ import annotations

import os
import pickle
import py_compile
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import LoadError
from headrace.sources.loading import is_headrace_flow, load_flow

FLOW = "from headrace import flow\n\n\n@flow\ndef hello():\n    return {value}\n"


@pytest.fixture(autouse=True)
def unloaded() -> Iterator[None]:
    """What a test loads, and where from, is gone after it; without bytecode nothing would be tested."""
    path, hooks, modules, flag = (
        list(sys.path),
        list(sys.path_hooks),
        dict(sys.modules),
        sys.dont_write_bytecode,
    )
    sys.dont_write_bytecode = False
    for (
        name,
        module,
    ) in modules.items():  # what another test loaded from its own folder, under a name that is used here
        if "pytest-of-" in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]
    yield
    sys.path[:], sys.path_hooks[:], sys.dont_write_bytecode = path, hooks, flag
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    return tmp_path / "code"


def write(folder: Path, **files: str) -> None:
    """Write Python files: ``a__b`` is ``a/b.py``, ``a__init`` is ``a/__init__.py``."""
    for name, text in files.items():
        file = folder / (re.sub("/init$", "/__init__", name.replace("__", "/")) + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def value_of(flow: Any) -> Any:
    return flow.fn()


def refused(entrypoint: str, folder: Path) -> LoadError:
    with pytest.raises(LoadError) as raised:
        load_flow(entrypoint, folder)
    assert raised.value.tried
    return raised.value


@pytest.mark.parametrize("entrypoint", ["etl/flows.py:hello", "{folder}/etl/flows.py:hello"])
def test_a_file_is_found_by_its_path(code: Path, entrypoint: str) -> None:
    """Relative to the folder of the code, or absolute."""
    write(code, etl__flows=FLOW.format(value=1))

    flow = load_flow(entrypoint.format(folder=code), code)

    assert is_headrace_flow(flow)
    assert value_of(flow) == 1
    assert sys.modules["flows"].__file__ == str(code / "etl" / "flows.py")
    assert sys.path[:2] == [str(code / "etl"), str(code)]


@pytest.mark.parametrize("entrypoint", ["jobs.daily.flows:hello", "jobs.daily.flows.hello"])
def test_a_module_is_found_by_its_name(code: Path, entrypoint: str) -> None:
    """From the folder of the code, with its relative imports."""
    write(code, jobs__init="", jobs__values="V = 7", jobs__daily__init="")
    write(code, jobs__daily__flows="from ..values import V\n" + FLOW.format(value="V"))

    assert value_of(load_flow(entrypoint, code)) == 7


def test_a_function_may_be_within_a_class(code: Path) -> None:
    """Dotted, as Python writes it."""
    body = "from headrace import flow\nclass Reports:\n    @staticmethod\n    @flow\n    def monthly():\n        return 3\n"
    write(code, flows=body)

    assert value_of(load_flow("flows.py:Reports.monthly", code)) == 3


def test_siblings_are_found(code: Path) -> None:
    """By name, beside the file and in the folder of the code, and with a leading dot."""
    write(
        code,
        etl__flows="import beside, above\nfrom .dotted import D\n"
        + FLOW.format(value="(beside.B, above.A, D)"),
    )
    write(code, etl__beside="B = 1", above="A = 2", etl__dotted="D = 3")

    assert value_of(load_flow("etl/flows.py:hello", code)) == (1, 2, 3)


def test_what_a_file_defines_can_be_pickled(code: Path) -> None:
    """It is found again under the module's name."""
    write(
        code,
        flows="from dataclasses import dataclass\n@dataclass\nclass Row:\n    a: int\n"
        + FLOW.format(value="Row(4)"),
    )

    row = value_of(load_flow("flows.py:hello", code))

    assert pickle.loads(pickle.dumps(row)) == row
    assert type(row).__module__ == "flows"


@pytest.mark.parametrize(
    ("name", "head"),
    [("flows", ""), ("queue", ""), ("flows", "from .beside import B\n")],
    ids=["", "alias", "dot"],
)
def test_tasks_of_a_loaded_file_run_in_a_process_pool(code: Path, name: str, head: str) -> None:
    """The pool's processes find the file again, or are sent what they need of it."""
    body = (
        "from headrace import flow, task\nfrom headrace.task_runners import ProcessPoolTaskRunner\n"
        f"{head}VALUES = [1, 2]\n"
        "@task\ndef double(n):\n    return n * len(VALUES)\n"
        "@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))\n"
        "def hello():\n    return double.map([3, 4]).result()\n"
    )
    write(code, **{name: body}, beside="B = 1")
    script = (
        "import pathlib\nfrom headrace.sources import load_flow\n"
        f"print(load_flow('{name}.py:hello', pathlib.Path({str(code)!r}))())\n"
    )
    environ = {**os.environ, "HEADRACE_RECORD": "false", "HEADRACE_LOGGING_CONSOLE": "false"}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("[6, 8]\n", "")


# -- as the source is now


def test_an_edit_within_the_same_second_is_seen(code: Path) -> None:
    """Python matches compiled code by whole seconds and size: file, sibling and package were edited in between."""
    now = int(time.time())
    names = ("flows", "beside", "pack__inner")
    for value in (1, 2, 3):
        write(
            code,
            flows="import beside, pack.inner\n" + FLOW.format(value=f"({value}, beside.B, pack.inner.I)"),
        )
        write(code, beside=f"B = {value}", pack__inner=f"I = {value}", pack__init="")
        for name in names:
            os.utime(code / (name.replace("__", "/") + ".py"), (now, now))
        if value == 1:
            for name in names:
                py_compile.compile(str(code / (name.replace("__", "/") + ".py")))
        assert value_of(load_flow("flows.py:hello", code)) == (value,) * 3
        for name in ("flows", "beside", "pack", "pack.inner"):  # as in another process
            sys.modules.pop(name)


def test_code_that_was_not_edited_lately_is_compiled_once(code: Path) -> None:
    """Large code bases would pay for it in each run: what surely is of this source is used."""
    write(code, flows="import beside\n" + FLOW.format(value="beside.B"), beside="B = 'compiled'")
    past = time.time() - 60
    os.utime(code / "beside.py", (past, past))
    compiled = py_compile.compile(str(code / "beside.py"))
    (code / "beside.py").write_text("B = 'edited!!'")  # same size; the time is put back below
    os.utime(code / "beside.py", (past, past))

    assert compiled is not None
    assert value_of(load_flow("flows.py:hello", code)) == "compiled"


def test_a_module_that_is_loaded_already_is_loaded_again(code: Path, tmp_path: Path) -> None:
    """A template process may have preloaded it; another folder may have one of the same name."""
    other = tmp_path / "other"
    write(code, jobs__init="", jobs__flows=FLOW.format(value=1), jobs__values="V = 1")
    write(other, jobs__init="", jobs__flows=FLOW.format(value=2))

    assert value_of(load_flow("jobs.flows:hello", code)) == 1
    write(code, jobs__flows=FLOW.format(value=10))
    assert value_of(load_flow("jobs.flows:hello", code)) == 10
    assert value_of(load_flow("jobs.flows:hello", other)) == 2


def test_files_of_the_same_name_do_not_meet(code: Path, tmp_path: Path) -> None:
    """Two deployments in one process, each with its ``flows.py``."""
    write(code, flows=FLOW.format(value=1))
    write(tmp_path / "other", flows=FLOW.format(value=2))

    first, second = load_flow("flows.py:hello", code), load_flow("flows.py:hello", tmp_path / "other")

    assert (value_of(first), value_of(second)) == (1, 2)
    assert sys.modules["flows"].__file__ == str(code / "flows.py")


@pytest.mark.parametrize("name", ["queue", "sched", "click", "__main__"])
def test_a_file_named_like_a_module_that_others_need_takes_nothing_from_them(code: Path, name: str) -> None:
    """Of the standard library, loaded or not, or installed: in a fresh process, as a run is."""
    (code / f"{name}.py").write_text(FLOW.format(value=5))
    needed = {"queue": "SimpleQueue", "sched": "scheduler", "click": "command", "__main__": "load_flow"}[name]
    script = (
        f"import pathlib, headrace.sources{', click' * (name == 'click')}\n"
        "from headrace.sources import load_flow\n"
        f"flow = load_flow('{name}.py:hello', pathlib.Path({str(code)!r}))\n"
        f"import {name}\n"
        f"print(flow.fn(), {name}.{needed} is not None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("5 True\n", "")


# -- what is missing


def test_a_missing_file_is_told_with_what_is_there(code: Path) -> None:
    """The path that was tried, and near names."""
    write(code, etl__flow="", etl__report="")

    error = refused("etl/flows.py:hello", code)
    assert str(error) == f"There is no file {code}/etl/flows.py. {code}/etl holds flow.py, ..."
    assert error.tried == f"{code}/etl/flows.py"
    assert f"{code} holds etl/." in str(refused("elt/deep/flows.py:hello", code))
    assert "is a folder" in str(refused("./etl:hello", code))


def test_a_missing_flow_is_told_with_those_there(code: Path) -> None:
    """And the one that was probably meant."""
    write(code, flows=FLOW.format(value=1) + "\ndef plain(): ...\nnumber = 3\n")

    assert "has no 'helo'. Did you mean hello? Flows in it: hello." in str(refused("flows.py:helo", code))
    assert "'plain' in" in str(refused("flows.py:plain", code))
    assert "is no flow but a function. Decorate it with @flow." in str(refused("flows.py:plain", code))
    assert "is no flow but a int. Name a function" in str(refused("flows.py:number", code))
    assert "names a file and no function" in str(refused("flows.py", code))
    assert "Flows in the file: hello." in str(refused("flows.py", code))
    for entrypoint in ("", ":", "hello", ":hello"):
        assert "is no entrypoint" in str(_malformed(entrypoint, code))


def _malformed(entrypoint: str, code: Path) -> LoadError:
    with pytest.raises(LoadError) as raised:
        load_flow(entrypoint, code)
    return raised.value


def test_a_flow_of_another_library_is_told(code: Path) -> None:
    """Its file still imports from where it came from."""
    body = "class Flow:\n    fn = with_options = task_runner = None\nFlow.__module__ = 'prefect.flows'\nhello = Flow()\n"
    write(code, flows=body)

    assert "is a flow of prefect. Import `flow` from headrace instead." in str(
        refused("flows.py:hello", code)
    )
    assert load_flow("flows.py:hello", code, is_flow=lambda value: hasattr(value, "fn"))


def test_a_missing_module_is_told_with_those_there(code: Path) -> None:
    """Its own absence is another thing than that of one which it imports."""
    write(code, jobs__init="", jobs__flows="import not_installed_here\n", tool="")

    assert f"There is no module job in {code}" in str(refused("job.flows:hello", code))
    assert f"{code} holds jobs." in str(refused("job.flows:hello", code))
    assert "There is no module jobs.flow in" in str(refused("jobs.flow:hello", code))
    broken = refused("jobs.flows:hello", code)
    assert "Loading jobs.flows raised ModuleNotFoundError at line 1 of " in str(broken)
    assert "No module named 'not_installed_here'" in str(broken)
    assert isinstance(broken.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("import not_installed_here\n", ModuleNotFoundError, "raised ModuleNotFoundError at line 1 of"),
        ("x = (\n", SyntaxError, "flows.py, line 1 is not valid Python: '(' was never closed."),
        ("\n1 / 0\n", ZeroDivisionError, "raised ZeroDivisionError at line 2 of"),
        ("import sys\nsys.exit(3)\n", SystemExit, "raised SystemExit at line 2 of"),
        ("import broken\n", SyntaxError, "broken.py, line 1 is not valid Python"),
        ("from ..above import x\n", ImportError, "needs an entrypoint package.module:function"),
        (
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n",
            Exception,
            "(its text cannot be shown)",
        ),
    ],
)
def test_a_file_that_raises_is_told_with_the_line_and_its_own_frames(
    code: Path, body: str, kind: type[BaseException], message: str
) -> None:
    """What was raised is the cause; of its traceback only what is the user's is left."""
    write(code, flows=body, broken="def (")

    error = refused("flows.py:hello", code)

    assert message in str(error)
    assert error.tried == str(code / "flows.py")
    assert isinstance(error.__cause__, kind)
    frames = traceback.extract_tb(error.__cause__.__traceback__)
    assert {frame.filename for frame in frames[:1]} <= {str(code / "flows.py")}
    assert "flows" not in sys.modules


def test_being_told_to_end_while_loading_is_not_an_error_of_loading(code: Path) -> None:
    """Ctrl-C goes through."""
    write(code, flows="raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        load_flow("flows.py:hello", code)


def test_loading_costs_little(code: Path) -> None:
    """It is on the way of every run: milliseconds, the engine being there already."""
    write(code, flows=FLOW.format(value=1))
    load_flow("flows.py:hello", code)

    took = []
    for _ in range(20):
        begun = time.perf_counter()
        load_flow("flows.py:hello", code)
        took.append(time.perf_counter() - begun)

    assert min(took) < 0.020
