"""The companion holds nothing of its script, is nobody's child, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.verdicts.house import House, Process, state_of, until

WAITS = """
    import sys
    from headrace import flow

    @flow
    def waits():
        print("ready", flush=True)
        sys.stdin.readline()

    waits()
"""


def finish(house: House) -> None:
    """Let the last script end, which waits for its standard input."""
    stdin = house.scripts[-1].process.stdin
    assert stdin is not None
    stdin.close()


def test_a_reader_of_the_scripts_output_does_not_wait_for_the_companion(embedded: House) -> None:
    """Whoever reads a script's output to its end gets that end with the script's, though the server is away."""
    done = subprocess.run(
        [sys.executable, "-c", "from headrace import flow\n@flow\ndef f(): print('said')\nf()"],
        env=embedded.environment(HEADRACE_API_URL="http://127.0.0.1:9/api"),
        capture_output=True,  # read to end of file, both
        text=True,
        timeout=10,
        check=True,
    )

    assert done.stdout == "said\n"
    until(embedded.companions, "the companion, which outlives the script")


def test_the_companion_holds_none_of_the_scripts_descriptors(embedded: House) -> None:
    """Files, pipes and sockets of a script, inheritable ones too, are not open in its companion."""
    script = embedded.start(
        """
        import os
        import socket
        import sys
        from headrace import flow

        mine = open(sys.argv[0])
        os.set_inheritable(mine.fileno(), True)
        ends = os.pipe()
        for end in ends:
            os.set_inheritable(end, True)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.set_inheritable(True)

        @flow
        def waits():
            print("ready", flush=True)
            sys.stdin.readline()

        waits()
        """,
        stdin=subprocess.PIPE,
    )
    script.until_said("ready")
    companion = script.companion()

    held = open_files(companion.pid)
    assert not [name for name in held if str(embedded.folder) in name and str(embedded.home) not in name]
    assert not set(held) & {name for name in open_files(script.pid) if name.startswith(("pipe:", "socket:"))}
    assert [held_as(companion.pid, fd) for fd in (0, 1, 2)] == ["/dev/null"] * 3
    assert Path(f"/proc/{companion.pid}/cwd").readlink() == Path("/")
    finish(embedded)


def open_files(pid: int) -> list[str]:
    """Return what the descriptors of a process lead to."""
    return [held_as(pid, int(entry.name)) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def held_as(pid: int, fd: int) -> str:
    """Return what a descriptor of a process leads to; empty when it was closed meanwhile."""
    try:
        return str(Path(f"/proc/{pid}/fd/{fd}").readlink())
    except FileNotFoundError:
        return ""


def test_the_companion_stands_apart(embedded: House) -> None:
    """It has a session of its own, no terminal, and is no child of its script."""
    script = embedded.start(WAITS, stdin=subprocess.PIPE)
    companion = script.companion()
    stat = Path(f"/proc/{companion.pid}/stat").read_text()
    parent, group, session, terminal = stat[stat.rindex(")") + 2 :].split()[1:5]

    assert int(parent) != script.pid
    assert int(session) not in (os.getsid(script.pid), os.getsid(0))
    assert int(group) != os.getpgid(script.pid)
    assert int(terminal) == 0
    finish(embedded)


def test_the_script_has_no_child_that_it_did_not_make(embedded: House) -> None:
    """`os.wait()` and SIGCHLD of a script never meet the companion."""
    script = embedded.start("""
        import os
        import signal
        from headrace import flow

        signal.signal(signal.SIGCHLD, lambda *_: print("a child has ended", flush=True))

        @flow
        def childless():
            try:
                print("waited for", os.wait(), flush=True)
            except ChildProcessError:
                print("no child", flush=True)

        childless()
    """)
    embedded.end_of(script)

    assert "no child" in script.output()
    assert "waited for" not in script.output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_to_the_scripts_group_do_not_reach_the_companion(house: House, number: int) -> None:
    """Ctrl-C, a lost terminal and Ctrl-\\ end the script; the companion lives to tell how."""
    # Where the tests run in the background, a shell has had them ignore these signals, and a script inherits that.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    heard += "signal.signal(signal.SIGQUIT, signal.SIG_DFL); signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    script = house.start(heard + textwrap.dedent(WAITS), stdin=subprocess.PIPE)
    script.until_said("ready")
    companion = script.companion()
    os.killpg(os.getpgid(script.pid), number)
    os.kill(companion.pid, signal.SIGINT)
    os.kill(companion.pid, signal.SIGHUP)
    run = house.end_of(script)

    expected = {
        signal.SIGINT: ("CANCELLED", "Interrupted"),
        signal.SIGHUP: ("CRASHED", "Crashed"),
        signal.SIGQUIT: ("CRASHED", "Crashed"),
    }
    assert state_of(run) == expected[signal.Signals(number)]


def test_one_companion_for_a_process_with_many_threads(embedded: House) -> None:
    """Thirty threads that begin their first flow at once share one journal and one companion."""
    script = embedded.start("""
        import threading
        from headrace import flow

        @flow
        def one():
            return 1

        ready = threading.Barrier(30)

        def run():
            ready.wait()
            one()

        threads = [threading.Thread(target=run) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("all done", flush=True)
        input()
    """, stdin=subprocess.PIPE)  # fmt: skip
    script.until_said("all done")
    script.companion()

    assert len(embedded.companions()) == 1
    assert len(embedded.spool.folders()) == 1
    finish(embedded)
    script.wait()
    until(lambda: len(embedded.find("flow_runs", {})) == 30, "all runs on record")


def test_a_forked_child_without_runs_has_no_companion(embedded: House) -> None:
    """Children of multiprocessing that run no flow start nothing; each that does has one of its own."""
    script = embedded.start("""
        import multiprocessing
        from headrace import flow

        @flow
        def one():
            return 1

        def work(number):
            if number == 2:
                one()

        one()
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(number,)) for number in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print("all done", flush=True)
        input()
    """, stdin=subprocess.PIPE)  # fmt: skip
    script.until_said("all done")
    until(lambda: len(embedded.find("flow_runs", {})) == 2, "both runs on record")

    assert len([*embedded.spool.folders(), *embedded.spool.shipped_folders()]) == 2
    finish(embedded)


def test_nothing_is_left_behind(house: House) -> None:
    """After a script has ended and its journal is shipped there is no process, no lock and no spool folder."""
    script = house.start(WAITS, stdin=subprocess.PIPE)
    companion = script.companion()
    finish(house)
    house.end_of(script)
    until(lambda: not companion.is_alive(), "the companion to end", within=5.0)

    assert house.companions() == []
    assert processes_marked(house) == []
    assert house.spool.folders() == []
    assert [folder.journal.exists() for folder in house.spool.shipped_folders()] == [True]


def processes_marked(house: House) -> list[int]:
    """Return the processes in whose environment this home folder stands."""
    mark = f"HEADRACE_HOME={house.home}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return [pid for pid in found if Process(pid).is_alive()]


def test_the_scripts_folder_does_not_shadow_what_the_companion_imports(embedded: House) -> None:
    """A `sqlalchemy.py` beside the script is the script's own affair."""
    for name in ("sqlalchemy", "sqlite3", "alembic"):
        (embedded.folder / f"{name}.py").write_text("raise RuntimeError('a module of mine')")
    script = embedded.start("""
        from headrace import flow

        @flow
        def beside():
            try:
                import sqlalchemy
            except RuntimeError as error:
                return str(error)

        print(beside(), flush=True)
    """)

    assert state_of(embedded.end_of(script)) == ("COMPLETED", "Completed")
    assert "a module of mine" in script.output()
