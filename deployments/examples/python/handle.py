"""Handles completions: each is tried again until it is handled, by any number of processes, and none is missed while none runs.

    pip install -r requirements.txt
    NATS_URL=nats://127.0.0.1:4222 python handle.py
"""

import asyncio
import json
import os

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy


async def handle(completion: dict) -> None:
    """What your program does with a completion. One that failed is a completion, too."""
    if completion["status"] == "succeed":
        print(completion["request_id"], "succeed", [video["url"] for video in completion["result"]["videos"]], flush=True)
    else:
        print(completion["request_id"], completion["status"], completion["error"]["class"], flush=True)


async def main() -> None:
    nc = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), max_reconnect_attempts=-1)
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_wait=30, max_deliver=10)
    consumer = await nc.jetstream().pull_subscribe("kling.completion.>", "videos", "KLING_EVENTS", config=config)
    while True:
        try:
            [message] = await consumer.fetch(1, timeout=20)
            await handle(json.loads(message.data))
            await message.ack()
        except nats.errors.TimeoutError:
            continue  # there was none
        except Exception:  # it is tried again after 2 s, 4 s, 8 s …
            await message.nak(delay=2**message.metadata.num_delivered)


if __name__ == "__main__":
    asyncio.run(main())
