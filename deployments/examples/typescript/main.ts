// Submits one request and awaits its completion:
//
//   npm ci
//   NATS_URL=nats://127.0.0.1:4222 npm start -- "a lighthouse in a storm"

import { jetstream, type JetStreamClient } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { randomUUID } from "node:crypto";

/** As much of a completion as is used here; events/schema has all of it. */
interface Completion {
  request_id: string;
  kind: string;
  status: "succeed" | "failed" | "rejected" | "expired" | "cancelled";
  result?: {
    videos: { id: string; url: string; duration_seconds: number }[];
    images: { index: number; url: string }[];
    audios: { id: string; url_mp3: string; url_wav: string; duration_seconds: number }[];
    files: { type: string; url: string }[]; // of other types, such as srt
  };
  error?: { class: string; code: number; message: string; retryable: boolean };
  metadata: Record<string, string>;
}

/** Stores a request. To do so again with the same id is safe: it creates nothing. */
async function submit(js: JetStreamClient, kind: string, id: string, body: object): Promise<void> {
  const h = headers();
  h.set("Kling-Request-Id", id);
  h.set("Nats-Msg-Id", id);
  h.set("Kling-Meta-Tenant", "acme"); // comes back with every event
  await js.publish(`kling.request.${kind}`, JSON.stringify(body), { headers: h });
}

/** Returns the completion of a request, whether it is stored already or comes hours later. */
async function awaitCompletion(js: JetStreamClient, id: string): Promise<Completion> {
  // An id of up to 64 letters, digits, _ and - is its own subject token.
  const consumer = await js.consumers.get("KLING_EVENTS", { filter_subjects: `kling.completion.*.*.${id}` });
  for await (const message of await consumer.consume()) {
    return message.json<Completion>(); // there is never a second one
  }
  throw new Error("the connection was closed");
}

const nc = await connect({
  servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222",
  user: process.env.NATS_USER,
  pass: process.env.NATS_PASSWORD,
  maxReconnectAttempts: -1,
});
try {
  const js = jetstream(nc);
  const id = randomUUID();
  const prompt = process.argv[2] ?? "a lighthouse in a storm";
  await submit(js, "text2video", id, { model_name: "kling-v3", prompt, duration: "5" });
  console.error(`request ${id} is stored`);
  const completion = await awaitCompletion(js, id);
  console.log(JSON.stringify(completion, null, 2));
  process.exitCode = completion.status === "succeed" ? 0 : 1;
} finally {
  await nc.close();
}
