"""The types of settings that are narrower than ``int`` and ``str``."""

from typing import Annotated, Literal

from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]
"""A number of which 0 makes no sense."""

Limit = Annotated[int, Meta(ge=0)]
"""A number of which 0 turns a limit off."""

PlacementPolicy = Literal["spread", "pack"]

AutoOrOff = Literal["auto", "off"]
