// Sends COUNT Socket.IO events of SIZE bytes: text, with a binary attachment, and acknowledged, in turn. WebSocket transport only.
import { Buffer } from 'node:buffer';
import process from 'node:process';
import { io } from 'socket.io-client';

const [url, count, size] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
if (!url || !Number.isInteger(count) || !Number.isInteger(size)) {
  console.error('usage: node socketio-client.mjs http://HOST:PORT COUNT SIZE');
  process.exit(2);
}

const TIMEOUT_MS = 60_000;
// Events: what the program asked for. Messages: what crossed as WebSocket messages, one a packet of Engine.IO.
const result = { sent: 0, received: 0, altered: 0, messages_sent: 0, messages_received: 0 };
const text = (i) => String(i % 10).repeat(size);
const same = (i, data) => Buffer.from(text(i)).equals(Buffer.from(data));

const token = process.env.LETHE_TEST_TOKEN; // goes as a Bearer header where the test identifies by JWT
const socket = io(url, {
  transports: ['websocket'],
  reconnection: false,
  extraHeaders: token ? { authorization: `Bearer ${token}` } : undefined,
});
socket.io.engine.on('packetCreate', () => result.messages_sent++);
socket.io.engine.on('packet', () => result.messages_received++);

function finish() {
  console.log(JSON.stringify(result));
  process.exit(result.received === count && result.altered === 0 ? 0 : 1);
}

function answered(i, data) {
  result.received++;
  if (!same(i, data)) result.altered++;
  if (result.received === count) socket.disconnect();
}

socket.on('connect', () => {
  if (count === 0) socket.disconnect();
  for (let i = 0; i < count; i++) {
    if (i % 3 === 2) socket.emit('ask', text(i), (data) => answered(i, data));
    else socket.emit('echo', { i, data: i % 3 === 1 ? Buffer.from(text(i)) : text(i) });
    result.sent++;
  }
});
socket.on('echo', ({ i, data }) => answered(i, data));
socket.on('connect_error', (error) => {
  console.error(`connect: ${error.message}`);
  finish();
});
// The disconnect packet and the close leave in the background: the program ends when the connection has closed.
socket.io.engine.on('close', finish);
setTimeout(() => {
  console.error(`gave up after ${TIMEOUT_MS} ms`);
  finish();
}, TIMEOUT_MS).unref();
