"""Doubles of OpenAI, Deepgram, Cartesia, and Twilio's hang-up, on loopback, strict about what their documents ask for.

Each answers as its API reference says, and refuses a request without the key, of the wrong form, or in the wrong
order. ``Doubles.faults`` holds each refusal: a test compares it with an empty list. Each vendor has its module.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from corpus.doubles_cartesia import Cartesia
from corpus.doubles_common import ANSWER, GREETING, KEY, Record
from corpus.doubles_deepgram import Deepgram
from corpus.doubles_deepgram_flux import Flux
from corpus.doubles_openai import OpenAI
from corpus.doubles_openai_realtime import Realtime
from corpus.doubles_openai_responses import Responses

__all__ = ["ANSWER", "GREETING", "Doubles"]

ACCOUNT = "AC00000000000000000000000000000000"


@dataclass
class Doubles(Record):
    """The services of all vendors; counts what each was asked for, and keeps what the language model got."""

    def app(self) -> Starlette:
        """Return the application with all services."""
        vendors = (OpenAI, Responses, Realtime, Deepgram, Flux, Cartesia)
        hang_up = Route(
            "/2010-04-01/Accounts/{account}/Calls/{call}.json", self.hang_up, methods=["POST"]
        )
        return Starlette(
            routes=[hang_up, *(route for vendor in vendors for route in vendor(self).routes())]
        )

    @staticmethod
    def environment(url: str) -> dict[str, str]:
        """Return what a bot's environment needs so that its services are the doubles at `url`."""
        return {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": KEY,
            "DEEPGRAM_API_KEY": KEY,
            "CARTESIA_API_KEY": KEY,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": KEY,
            "SERVICE_DOUBLES_URL": url,
            "PIPECAT_SETUP_FILES": str(Path(__file__).with_name("doubles_setup.py")),
        }

    async def hang_up(self, request: Request) -> Response:
        """End a call of Twilio's, as Pipecat's serializer asks for when the bot ends."""
        self.requests["twilio hang-up"] += 1
        expected = base64.b64encode(f"{ACCOUNT}:{KEY}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return self.refuse("hang-up: wrong account", 401)
        if (await request.form()).get("Status") != "completed":
            return self.refuse("hang-up: no Status=completed")
        return JSONResponse({"sid": request.path_params["call"], "status": "completed"})
