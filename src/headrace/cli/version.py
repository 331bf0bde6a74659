"""``headrace version``: versions, and where runs are recorded."""

from __future__ import annotations

import platform
from typing import Any

import click

from headrace.client.where import locate
from headrace.wire.versions import API_VERSION, CONTRACT_RELEASE

from .explain import facts
from .output import output_option, write_json
from .session import current

_WHERE = {
    "network": "the server at {url}",
    "local": "the server on this host at {url}",
    "embedded": "the home folder's database (no server runs)",
}


@click.command(epilog="Example: headrace version -o json")
@output_option
def version(output: str) -> None:
    """Show versions and where runs are recorded."""
    found = _facts()
    if output == "json":
        write_json(found)
        return
    click.echo(f"Headrace {found['version']}")
    facts(
        [
            ("python", found["python"]),
            ("platform", found["platform"]),
            ("API", f"{found['api_version']} (as {found['contract_release']})"),
            ("home", found["home"]),
            ("profile", found["profile"]),
            ("records to", _WHERE[found["mode"]].format(url=found["url"])),
        ]
    )


def _facts() -> dict[str, Any]:
    from importlib.metadata import version as version_of  # here: 20 ms

    session = current()
    where = locate(session.settings)
    return {
        "version": version_of("headrace"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "api_version": API_VERSION,
        "contract_release": CONTRACT_RELEASE,
        "home": str(session.settings.home_path),
        "profile": session.profile_in_use(),
        "mode": where.kind,
        "url": where.url or None,
    }
