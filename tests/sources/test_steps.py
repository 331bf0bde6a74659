"""Pull steps: what each does, what they tell one another, and what they refuse."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import LoadError
from headrace.sources.steps import run_steps
from headrace.sources.templates import Template, is_reference

from .repositories import Origin, serve

P = "prefect.deployments.steps."
SECRET = "sesame-open-7"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return (tmp_path / "run").resolve()


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "remotes" / "jobs")


def run(here: Path, *steps: Any, **environ: str) -> Path:
    return run_steps(list(steps), here, mirrors=here.parent / "mirrors", environ={**os.environ, **environ})


@pytest.mark.parametrize(
    "prefix",
    [P, P + "pull.", P + "utility.", "headrace.deployments.steps."],
)
def test_a_step_is_known_by_the_names_users_have(here: Path, prefix: str) -> None:
    """Those of the field, and ours."""
    (here / "code").mkdir()

    assert run(here, {prefix + "set_working_directory": {"directory": "code"}}) == here / "code"


def test_no_step_that_names_a_folder_leaves_the_run_where_it_was(here: Path) -> None:
    """A script alone moves nothing."""
    assert run(here, {P + "run_shell_script": {"script": "true"}}) == here


def test_a_clone_is_the_folder_of_the_code(here: Path, origin: Origin) -> None:
    """Named after the repository and the branch, or as told."""
    commit = origin.commit(flows="x")
    step = {P + "git_clone": {"repository": origin.url, "branch": "main", "requires": "anything"}}
    named = {
        P + "git_clone": {"repository": str(origin.path), "commit_sha": commit, "clone_directory_name": "c"}
    }

    assert run(here, step) == here / "jobs-main"
    assert run(here, named) == here / "c"
    assert (here / "c" / "flows.py").read_text() == "x"


def test_steps_use_what_earlier_ones_gave(here: Path, origin: Origin) -> None:
    """Under the step's id, and under the bare name."""
    origin.commit(etl__flows="x")
    clone = {P + "git_clone": {"id": "clone", "repository": origin.url}}
    script = {
        P + "run_shell_script": {
            "id": "count",
            "script": "ls | wc -l\necho oops >&2",
            "directory": "{{ clone.directory }}/etl",
            "stream_output": False,
        }
    }
    use = {P + "run_shell_script": {"script": "test {{ count.stdout }}-{{count.stderr}} = 1-oops"}}
    last = {P + "set_working_directory": {"directory": "{{ directory }}/etl"}}

    assert run(here, clone, script, use, last) == here / "jobs" / "etl"


def test_a_script_is_a_shell_script(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Variables, pipes, several lines; the first that fails ends it, and what it prints is the run's output."""
    script = 'echo "$GREETING you" | tr a-z A-Z\nmkdir made; cd made; pwd >&2\n'
    run(here, {P + "run_shell_script": {"script": script, "env": {"GREETING": "hi"}}})

    assert capfd.readouterr().out.split("\n")[:2] in (
        ["HI YOU", str(here / "made")],
        [str(here / "made"), "HI YOU"],
    )
    with pytest.raises(LoadError, match=r"ended with exit code 3 in .*Its last line: bad luck"):
        run(here, {P + "run_shell_script": {"script": "(echo bad luck >&2; exit 3)\ntouch never"}})
    assert not (here / "never").exists()


def test_a_script_that_prints_a_lot_on_both_streams_does_not_hang(here: Path) -> None:
    """A pipe that nobody empties would stop it."""
    loop = "i=0; while [ $i -lt 30000 ]; do echo line $i; echo error $i >&2; i=$((i+1)); done"
    check = 'test "$LAST" = "line 29999"'

    run(
        here,
        {P + "run_shell_script": {"id": "much", "script": loop, "stream_output": False}},
        {
            P + "run_shell_script": {
                "script": f'LAST=$(tail -n 1 <<"END"\n{{{{ much.stdout }}}}\nEND\n)\n{check}'
            }
        },
    )


def test_requirements_are_installed_into_the_environment_of_the_run(here: Path) -> None:
    """A failure tells pip's last line. (Nothing is fetched: the file names what is there, and a folder that is not.)"""
    (here / "requirements.txt").write_text("headrace\n")
    (here / "wrong.txt").write_text("./not-there\n")

    run(here, {P + "pip_install_requirements": {"directory": str(here), "stream_output": False}})
    with pytest.raises(LoadError, match=r"Installing wrong\.txt ended with exit code 1 .*not-there"):
        run(here, {P + "pip_install_requirements": {"requirements_file": "wrong.txt"}})
    with pytest.raises(LoadError, match=r"There is no none\.txt in"):
        run(here, {P + "pip_install_requirements": {"requirements_file": "none.txt"}})


@pytest.mark.parametrize(
    "inputs",
    [
        {"access_token": "{{ $GIT_SECRET }}"},
        {"access_token": {"$env": "GIT_SECRET"}},
        {"access_token": "robot:{{ $GIT_SECRET }}"},
        {"credentials": {"username": "robot", "password": {"$env": "GIT_SECRET"}}},
        {"credentials": {"token": "{{ $GIT_SECRET }}"}},
        {"repository": "robot:{{ $GIT_SECRET }}@"},
    ],
)
def test_a_password_comes_from_the_environment(
    here: Path, origin: Origin, capfd: pytest.CaptureFixture[str], inputs: dict[str, Any]
) -> None:
    """By each way to refer to it; it is in no line that is told, in no command line and in no file."""
    origin.commit(flows="x")
    told: list[str] = []
    with serve(origin.path.parent, SECRET) as (base, seen):
        userinfo = inputs.get("repository", "")
        step = {P + "git_clone": {**inputs, "repository": base.replace("//", f"//{userinfo}") + "/jobs/.git"}}
        got = run_steps(
            [step],
            here,
            mirrors=here / "mirrors",
            environ={**os.environ, "GIT_SECRET": SECRET},
            say=told.append,
        )

    assert (got / "flows.py").exists()
    assert len(told) == 1 and "Cloned http://127.0.0.1" in told[0]
    shown = [*told, *seen.command_lines, *capfd.readouterr()]
    assert [text for text in shown if SECRET in text] == []
    assert [path for path in here.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


def test_a_token_for_a_user_name_is_kept_secret_too(here: Path, origin: Origin) -> None:
    """``https://TOKEN@host`` is how some hosts want it."""
    origin.commit(flows="x")
    with serve(origin.path.parent, "") as (base, seen):
        url = base.replace("//", "//{{ $GIT_SECRET }}@") + "/jobs/.git"
        run(here, {P + "git_clone": {"repository": url}}, GIT_SECRET=SECRET)

    assert SECRET in seen.users
    assert [line for line in seen.command_lines if SECRET in line] == []
    assert [path for path in here.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"repository": "https://example.com/a.git", "access_token": SECRET}, "access_token"),
        ({"repository": "https://example.com/a.git", "credentials": {"token": SECRET}}, "credentials"),
        ({"repository": f"https://me:{SECRET}@example.com/a.git"}, "repository"),
    ],
)
def test_a_secret_in_clear_is_refused(here: Path, inputs: dict[str, Any], field: str) -> None:
    """It stands in the database; the message tells how to do it, without the secret."""
    with pytest.raises(LoadError, match=rf"holds a secret in clear in {field}\.") as raised:
        run(here, {P + "git_clone": inputs})

    assert SECRET not in str(raised.value) + raised.value.tried


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {P + "git_clon": {}},
            r"no pull step .*git_clon\. Did you mean headrace\.deployments\.steps\.git_clone\?",
        ),
        ({"my_steps.fetch": {}}, r"There is no pull step my_steps\.fetch\. There are git_clone, "),
        ({P + "pull_with_block": {}}, "is not to be had here"),
        ({P + "git_clone": {}}, "needs repository"),
        ({P + "git_clone": None}, "needs repository"),
        (
            {P + "git_clone": {"repository": "x", "brunch": "y"}},
            "does not know brunch; it takes repository, branch",
        ),
        (
            {P + "git_clone": {"repository": "ssh://h/x", "access_token": {"$env": "HOME"}}},
            "For ssh, put a key",
        ),
        (
            {P + "git_clone": {"repository": ".", "clone_directory_name": "../x"}},
            "outside of the run's folder",
        ),
        (
            {P + "set_working_directory": {"directory": "gone"}},
            r"set_working_directory failed\. There is no folder .*/run/gone\.",
        ),
        ({P + "set_working_directory": ["x"]}, "needs a dict of inputs, not list"),
        ({"a": {}, "b": {"c": SECRET}}, r"is no dict with one key, the step's name: it has a, b\."),
        ("x", "is no dict with one key"),
        ({P + "run_shell_script": {"script": "{{ nobody.stdout }}"}}, "which no step before it gives"),
        (
            {P + "run_shell_script": {"script": "{{ $NOT_SET_HERE }}"}},
            "variable NOT_SET_HERE, which is not set",
        ),
        (
            {P + "run_shell_script": {"script": "{{ prefect.blocks.secret.x }}"}},
            "blocks and variables cannot",
        ),
    ],
)
def test_a_wrong_step_is_told(here: Path, step: Any, message: str) -> None:
    """What is wrong, and what there is."""
    with pytest.raises(LoadError, match=message) as raised:
        run(here, step)

    assert SECRET not in str(raised.value)


def test_a_failing_script_does_not_tell_what_came_from_the_environment(here: Path) -> None:
    """Its last line may hold it."""
    with pytest.raises(LoadError, match=r"exit code 1 .*: no \*\*\* here") as raised:
        run(
            here,
            {P + "run_shell_script": {"script": "echo no {{ $WORD }} here; exit 1", "stream_output": False}},
            WORD=SECRET,
        )

    assert SECRET not in str(raised.value)


def test_the_environment_of_the_process_is_the_default(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run process has set it up already."""
    monkeypatch.setenv("WHERE_TO", "code")
    (here / "code").mkdir()
    step = {"headrace.deployments.steps.set_working_directory": {"directory": "{{ $WHERE_TO }}"}}

    assert run_steps([step], here, mirrors=here) == here / "code"


# -- references


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text().filter(lambda t: "{{" not in t),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda t: t != "$env"), inner),
    )
)
def test_what_refers_to_nothing_stays_as_it_is(value: Any) -> None:
    """At any depth, of any kind."""
    assert Template({}).fill(value) == value
    assert not is_reference(value)


@pytest.mark.parametrize("text", ["{{ .Names }}", "{{}}", "{% if x %}", "{{ a b }}", "{ { x } }", "$HOME"])
def test_braces_of_other_tools_stay(text: str) -> None:
    """Docker's ``--format '{{ .Names }}'`` is no reference."""
    assert Template({}).fill(text) == text


def test_a_whole_value_keeps_its_kind() -> None:
    """A list that a step gave stays one; within a text it is text."""
    template = Template({"A": "1"})
    template.add({"names": ["x"]}, "ls")

    assert template.fill({"a": "{{ ls.names }}", "b": ["-{{names}}-", {"$env": "A"}], "c": "{{ $A }}2"}) == {
        "a": ["x"],
        "b": ["-['x']-", "1"],
        "c": "12",
    }
