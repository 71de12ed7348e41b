"""The types of settings that are narrower than ``int`` and ``str``."""

from typing import Annotated, Literal

from msgspec import Meta

from cordboard.contract.urls import ROOT_PATH

Positive = Annotated[int, Meta(ge=1)]
"""A number of which 0 makes no sense."""

Limit = Annotated[int, Meta(ge=0)]
"""A number of which 0 turns a limit off."""

RootPath = Annotated[str, Meta(pattern=ROOT_PATH)]
"""A path prefix, such as /voice; "" for none."""

PlacementPolicy = Literal["spread", "pack"]

AutoOrOff = Literal["auto", "off"]
