"""Submits one request and awaits its completion:

    pip install -r requirements.txt
    NATS_URL=nats://127.0.0.1:4222 python submit.py "a lighthouse in a storm"
"""

import asyncio
import json
import os
import sys
import uuid

import nats
from nats.js import JetStreamContext


async def submit(js: JetStreamContext, kind: str, request_id: str, body: dict) -> None:
    """Stores a request. To do so again with the same id is safe: it creates nothing."""
    headers = {
        "Kling-Request-Id": request_id,
        "Nats-Msg-Id": request_id,
        "Kling-Meta-Tenant": "acme",  # comes back with every event
    }
    await js.publish(f"kling.request.{kind}", json.dumps(body).encode(), headers=headers)


async def await_completion(js: JetStreamContext, request_id: str) -> dict:
    """Returns the completion of a request, whether it is stored already or comes hours later."""
    # An id of up to 64 letters, digits, _ and - is its own subject token.
    subscription = await js.subscribe(f"kling.completion.*.*.{request_id}", stream="KLING_EVENTS", ordered_consumer=True)
    try:
        message = await subscription.next_msg(timeout=None)  # there is never a second one
        return json.loads(message.data)
    finally:
        await subscription.unsubscribe()


async def main(prompt: str) -> int:
    nc = await nats.connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        user=os.environ.get("NATS_USER"),
        password=os.environ.get("NATS_PASSWORD"),
        max_reconnect_attempts=-1,
    )
    try:
        js = nc.jetstream()
        request_id = str(uuid.uuid4())
        await submit(js, "text2video", request_id, {"model_name": "kling-v3", "prompt": prompt, "duration": "5"})
        print(f"request {request_id} is stored", file=sys.stderr)
        completion = await await_completion(js, request_id)
        print(json.dumps(completion, indent=2))
        return 0 if completion["status"] == "succeed" else 1
    finally:
        await nc.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "a lighthouse in a storm")))
