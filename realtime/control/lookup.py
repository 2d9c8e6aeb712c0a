"""Finds what a name means in one session: a parameter of the table, or one of a numbered family."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from realtime.errors import UserError
from realtime.parameters import FAMILIES, PREFIX, Family, Parameter

if TYPE_CHECKING:
    from realtime.control.namespace import Namespace

__all__ = ["VALUES", "family_members", "find_parameter", "known_parameter", "member", "nearest"]

VALUES = ("float", "bool", "choice")  # the kinds that hold a value, other than events and actions
_FAMILIES = {family.name: family for family in FAMILIES}


def member(family: Family, number: int) -> Parameter:
    """One of a family as a parameter of its own."""
    return Parameter(
        f"{family.name}/{number}", "float", family.low, family.high, "", family.default, "linear", 0.0,
        family.description, None,
    )  # fmt: skip


def family_members(latent_channels: int) -> Iterator[Parameter]:
    """All numbered parameters of a bundle with so many latent channels."""
    for family in FAMILIES:
        yield from (member(family, i) for i in range(min(latent_channels, family.count)))


def find_parameter(namespace: Namespace, name: str) -> Parameter | None:
    """The parameter of that name (`mix`) or address (`/umtn/mix`) in this session, or None."""
    name = name.removeprefix(PREFIX).strip("/")
    for parameter in namespace.parameters:
        if parameter.name == name:
            return parameter
    head, _, number = name.rpartition("/")
    if head not in _FAMILIES or not (number.isascii() and number.isdecimal() and len(number) < 6):
        return None
    return member(_FAMILIES[head], int(number)) if int(number) < namespace.latent_channels else None


def nearest(namespace: Namespace, name: str) -> str:
    """Advice for a name that nobody knows."""
    names = [p.name for p in namespace.parameters]
    near = difflib.get_close_matches(name.removeprefix(PREFIX)[:60], names, 1)
    return f"; did you mean {near[0]}?" if near else ""


def known_parameter(namespace: Namespace, name: str) -> Parameter:
    """As find_parameter; UserError if there is none."""
    parameter = find_parameter(namespace, name)
    if parameter is None:
        raise UserError(f"there is no parameter {name[:60]!r}{nearest(namespace, name)}")
    return parameter
