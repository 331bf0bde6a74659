"""Which events a listener asks for: the contract's event filter, asked of one event at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

Event = Mapping[str, Any]
Labels = dict[str, str | list[str]]


class Occurred(msgspec.Struct):
    """When."""

    since: datetime | None = None
    until: datetime | None = None


class Name(msgspec.Struct):
    """What happened."""

    prefix: list[str] | None = None
    exclude_prefix: list[str] | None = None
    name: list[str] | None = None
    exclude_name: list[str] | None = None


class Resource(msgspec.Struct):
    """To what it happened, or what it touched."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: Labels | None = None
    role: list[str] | None = None
    resources_in_roles: list[tuple[str, str]] | None = None

    def fits(self, resource: Mapping[str, str]) -> bool:
        """Say whether a resource of an event is meant."""
        id = resource.get("prefect.resource.id", "")
        role = resource.get("prefect.resource.role", "")
        return (
            (not self.id or id in self.id)
            and (not self.id_prefix or id.startswith(tuple(self.id_prefix)))
            and (not self.role or role in self.role)
            and (not self.resources_in_roles or (id, role) in self.resources_in_roles)
            and all(_label_fits(resource.get(key), value) for key, value in (self.labels or {}).items())
        )


class Ids(msgspec.Struct):
    """Which, by id."""

    id: list[str] | None = None


class Text(msgspec.Struct):
    """What its text holds."""

    query: str = ""


class EventFilter(msgspec.Struct):
    """Which events; empty lists and nulls restrict nothing."""

    occurred: Occurred | None = None
    event: Name | None = None
    resource: Resource | None = None
    related: Resource | list[Resource] | None = None
    any_resource: Resource | list[Resource] | None = None
    id: Ids | None = None
    text: Text | None = None
    order: str | None = None


def read(value: object) -> EventFilter:
    """Return the filter in a message of a client.

    Raises:
        ValueError: it cannot be understood; the text says which part.
    """
    return msgspec.convert(value or {}, EventFilter)


def fits(f: EventFilter, event: Event) -> bool:
    """Say whether an event is asked for."""
    related = event.get("related") or []
    everything = [event["resource"], *related]
    return (
        _name_fits(f.event, event["event"])
        and _time_fits(f.occurred, event)
        and (f.id is None or not f.id.id or event["id"] in f.id.id)
        and (f.resource is None or f.resource.fits(event["resource"]))
        and all(any(one.fits(each) for each in related) for one in _listed(f.related) if _says(one))
        and all(any(one.fits(each) for each in everything) for one in _listed(f.any_resource) if _says(one))
        and (f.text is None or _text_fits(f.text.query, event))
    )


def _listed(value: Resource | list[Resource] | None) -> Sequence[Resource]:
    return value if isinstance(value, list) else [value] if value is not None else []


def _says(f: Resource) -> bool:
    return bool(f.id or f.id_prefix or f.labels or f.role or f.resources_in_roles)


def _name_fits(f: Name | None, name: str) -> bool:
    return f is None or (
        (not (f.prefix or f.name) or name in (f.name or ()) or name.startswith(tuple(f.prefix or ())))
        and not (f.exclude_prefix and name.startswith(tuple(f.exclude_prefix)))
        and name not in (f.exclude_name or ())
    )


def _time_fits(f: Occurred | None, event: Event) -> bool:
    if f is None or (f.since is None and f.until is None):
        return True
    try:
        when = msgspec.convert(event["occurred"], datetime)
        return not ((f.since and when < f.since) or (f.until and when > f.until))
    except (msgspec.ValidationError, TypeError):  # no time, or one without a zone beside one with
        return False


def _label_fits(found: str | None, wanted: str | list[str]) -> bool:
    values = wanted if isinstance(wanted, list) else [wanted]
    if found is None:
        return bool(values) and all(value.startswith("!") for value in values)
    refused = [value[1:] for value in values if value.startswith("!")]
    accepted = [value for value in values if not value.startswith("!")]
    return not any(_like(found, value) for value in refused) and (
        not accepted or any(_like(found, value) for value in accepted)
    )


def _like(found: str, wanted: str) -> bool:
    return found.startswith(wanted[:-1]) if wanted.endswith("*") else found == wanted


def _text_fits(query: str, event: Event) -> bool:
    text = msgspec.json.encode(event).decode().lower()
    return all(word in text for word in query.lower().split())
