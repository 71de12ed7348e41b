"""A job queue beside the plane: its worker's job, and the queueing of as many. See plane.py.

    PEER=arq|taskiq python plane_peer_worker.py COUNT     queues so many jobs
    PEER=arq arq plane_peer_worker.WorkerSettings         works on them
    PEER=taskiq taskiq worker plane_peer_worker:broker    works on them

Each job is the body of a start: with PEER_URL it is handed on by HTTP as an operator does, without
it there is nothing to do. Each job done is a byte in PEER_FILE.
"""

import asyncio
import json
import logging
import os
import sys
from importlib import import_module
from typing import Any

import aiohttp

REDIS, PEER = os.environ["PEER_REDIS"], os.environ["PEER"]
URL = os.environ.get("PEER_URL")
FILE = os.open(os.environ["PEER_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
AT_ONCE = 64  # as many as an operator's hand-overs
_clients: list[aiohttp.ClientSession] = []


async def hand_over(body: dict[str, Any]) -> None:
    if URL:
        if not _clients:
            _clients.append(aiohttp.ClientSession())
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        async with _clients[0].post(f"{URL}/start", data=data, headers=headers) as answer:
            await answer.read()
    os.write(FILE, b".")


if PEER == "arq":
    arq = import_module("arq")
    redis_settings_of_peer = import_module("arq.connections").RedisSettings.from_dsn(REDIS)

    async def job(_context: Any, body: dict[str, Any]) -> None:
        await hand_over(body)

    async def quiet(_context: Any) -> None:
        logging.getLogger("arq").setLevel(logging.WARNING)

    class WorkerSettings:
        functions = (job,)
        on_startup = quiet
        redis_settings = redis_settings_of_peer
        max_jobs = AT_ONCE
        poll_delay = 0.01  # 0.5 s by default
        keep_result = 0
else:
    broker = import_module("taskiq_redis").RedisStreamBroker(url=REDIS)
    task = broker.task("hand_over")(hand_over)


async def queue(count: int) -> None:
    bodies = [
        {"sessionId": f"s{i}", "epoch": 1, "room_url": f"webrtc:{i}", "body": {}, "bot": "default",
         "attempt": 1, "maxDurationSeconds": 14400}
        for i in range(count)
    ]  # fmt: skip
    if PEER == "arq":
        pool = await arq.create_pool(redis_settings_of_peer)
        for body in bodies:
            await pool.enqueue_job("job", body)
        await pool.aclose()
    else:
        await broker.startup()
        for body in bodies:
            await task.kiq(body)
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(queue(int(sys.argv[1])))
