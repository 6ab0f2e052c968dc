// client.mjs LIBRARY URL: carries out commands with one client library, a JSON
// object a line on stdin, and answers each by one on stdout. It ends with stdin.
// Revisions and positions are decimal strings, bytes are base64.

import { createInterface } from "node:readline";

const [library, url] = process.argv.slice(2);
const esdb = await import(library);
// The two libraries differ in these names and in nothing else that is used here.
const { EventStoreDBClient, KurrentDBClient } = esdb;
const client = (KurrentDBClient ?? EventStoreDBClient).connectionString(
  KurrentDBClient ? url.replace(/^esdb/, "kurrentdb") : url,
);
const expecting = (expected) => ({ [KurrentDBClient ? "streamState" : "expectedRevision"]: revision(expected) });

const leader = { requiresLeader: true };
const subscriptions = new Map();

const revision = (r) => (/^\d+$/.test(r) ? BigInt(r) : r);
const place = (p) => (typeof p === "string" ? p : { commit: BigInt(p.commit), prepare: BigInt(p.prepare) });
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const bytes = (text) => Uint8Array.from(Buffer.from(text ?? "", "base64"));

// written is what the store holds: both libraries parse metadata that is JSON.
const written = (value) => {
  if (value === undefined) return "";
  return base64(value instanceof Uint8Array ? value : Buffer.from(JSON.stringify(value)));
};

const shown = ({ event: e, commitPosition }) => ({
  stream: e.streamId,
  id: e.id,
  type: e.type,
  json: e.isJson,
  created: e.created.toISOString(),
  revision: String(e.revision),
  commit: String(e.position.commit),
  prepare: String(e.position.prepare),
  outer: String(commitPosition),
  metadata: written(e.metadata),
  data: written(e.data),
});

const collect = async (events) => {
  const out = [];
  for await (const e of events) out.push(shown(e));
  return { events: out };
};

const appended = ({ success, nextExpectedRevision, position }) => ({
  success,
  revision: String(nextExpectedRevision),
  commit: String(position?.commit),
  prepare: String(position?.prepare),
});

const commands = {
  stream: ({ stream, from, direction, count }) =>
    collect(client.readStream(stream, { ...leader, fromRevision: revision(from), direction, maxCount: count })),

  all: ({ from, direction, count }) =>
    collect(client.readAll({ ...leader, fromPosition: place(from), direction, maxCount: count })),

  append: async ({ stream, expected, events }) =>
    appended(
      await client.appendToStream(
        stream,
        events.map((e) => esdb.binaryEvent({ id: e.id, type: e.type, data: bytes(e.data), metadata: bytes(e.metadata) })),
        { ...leader, ...expecting(expected) },
      ),
    ),

  metadata: async ({ stream }) => {
    const { metadata } = await client.getStreamMetadata(stream, leader);
    return { metadata: written(metadata) };
  },

  truncate: async ({ stream, before, expected }) =>
    appended(await client.setStreamMetadata(stream, { truncateBefore: before }, { ...leader, ...expecting(expected) })),

  tombstone: async ({ stream, expected }) => {
    await client.tombstoneStream(stream, { ...leader, expectedRevision: revision(expected) });
    return {};
  },

  // subscribe answers once the subscription has delivered COUNT events.
  subscribe: async ({ name, prefix, from, count }) => {
    const s = client.subscribeToAll({
      ...leader,
      fromPosition: place(from),
      filter: esdb.streamNameFilter({ prefixes: [prefix] }),
    });
    subscriptions.set(name, { s, next: s[Symbol.asyncIterator]() });
    return commands.take({ name, count });
  },

  take: async ({ name, count }) => {
    const { next } = subscriptions.get(name);
    const out = [];
    while (out.length < count) {
      const { value, done } = await next.next();
      if (done) throw new Error("the subscription ended");
      out.push(shown(value));
    }
    return { events: out };
  },

  unsubscribe: async ({ name }) => {
    const { s } = subscriptions.get(name);
    subscriptions.delete(name);
    await s.unsubscribe();
    return {};
  },
};

// What only reads is tried three times. A server on grpc-go may answer a read before
// the caller's end of it has arrived, and resets the call then, without an error;
// the part in Rust calls that an outage.
const reads = new Set(["stream", "all", "metadata"]);

const failure = (e) => ({
  failure: e.type ?? "not an error of the library",
  message: String(e.message ?? e),
  stream: e.streamName,
  actual: String(e.actualState ?? e.actualVersion ?? ""),
});

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer = await commands[command.do](command).catch(failure);
  for (let more = 2; more > 0 && answer.failure === "unavailable" && reads.has(command.do); more--) {
    answer = await commands[command.do](command).catch(failure);
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await client.dispose();
