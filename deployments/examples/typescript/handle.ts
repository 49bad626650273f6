// Handles completions: each is tried again until it is handled, by any number of processes, and none is missed while none runs.
//
//   npm ci
//   NATS_URL=nats://127.0.0.1:4222 npm run handle

import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, nanos } from "@nats-io/transport-node";

interface Completion {
  request_id: string;
  status: string;
  result?: { videos: { url: string }[] };
  error?: { class: string; message: string };
}

/** What your program does with a completion. One that failed is a completion, too. */
async function handle(c: Completion): Promise<void> {
  console.log(c.request_id, c.status, c.error ? c.error.class : c.result?.videos[0]?.url);
}

const nc = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222", maxReconnectAttempts: -1 });

const durable = { durable_name: "videos", filter_subject: "kling.completion.>", deliver_policy: DeliverPolicy.All };
const tries = { ack_policy: AckPolicy.Explicit, ack_wait: nanos(30_000), max_deliver: 10 };
await (await jetstreamManager(nc)).consumers.add("KLING_EVENTS", { ...durable, ...tries });
const consumer = await jetstream(nc).consumers.get("KLING_EVENTS", "videos");
for await (const m of await consumer.consume({ max_messages: 1 })) {
  await handle(m.json<Completion>()).then(() => m.ack(), () => m.nak(1000 * 2 ** Math.min(m.info.deliveryCount, 8)));
}
