"""The objects that the interface's routes share, made when the application starts."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from cordboard.interface.browser_log import BrowserLog, BrowserLogLimits
from cordboard.interface.log_readings import LogReadings
from cordboard.interface.request_limits import RequestLimits
from cordboard.interface.session_owners import SessionOwners
from cordboard.interface.source_checks import SourceChecks
from cordboard.web.gateway_proxy import GatewayProxy


@dataclass(frozen=True, slots=True)
class InterfaceServices:
    """The dependencies of the interface's routes.

    Attributes:
        gateway: Calls the gateway.
        owners: Finds the owners of sessions.
        browser_log: Checks and writes the log lines of browsers.
        browser_log_limits: The limits on these lines.
        log_readings: Reads the logs of sessions.
        source_checks: Asks the log sources whether they can be read.
        request_limits: The limits on the requests of each person and address.
        max_duration_s: The longest session that a page may start, in seconds.
        stopping: Set when the server stops, so that event streams end.
    """

    gateway: GatewayProxy
    owners: SessionOwners
    browser_log: BrowserLog
    browser_log_limits: BrowserLogLimits
    log_readings: LogReadings
    source_checks: SourceChecks
    request_limits: RequestLimits
    max_duration_s: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


async def interface_services(request: Request) -> InterfaceServices:
    """Return the services that the application's lifespan made for `request`'s application."""
    # Not a plain function: FastAPI would run it in a thread, which costs more than the call itself.
    services: InterfaceServices = request.app.state.services
    return services


Services = Annotated[InterfaceServices, Depends(interface_services)]
"""The type of a route's parameter that receives the services."""
