// Sends COUNT messages of SIZE bytes to an echo server: text, binary and fragmented in turn.
import { Buffer } from 'node:buffer';
import process from 'node:process';
import WebSocket from 'ws';

const [url, count, size] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
if (!url || !Number.isInteger(count) || !Number.isInteger(size)) {
  console.error('usage: node ws-client.mjs URL COUNT SIZE');
  process.exit(2);
}

const TIMEOUT_MS = 60_000;
const payload = (i) => Buffer.alloc(size, String(i % 10));
const binary = (i) => i % 3 === 1;
const result = { sent: 0, received: 0, altered: 0, code: 0 };

function finish() {
  console.log(JSON.stringify(result));
  process.exit(result.received === count && result.altered === 0 ? 0 : 1);
}

// A fragmented message: three frames, one message.
function sendFragmented(socket, data) {
  const third = Math.ceil(size / 3);
  socket.send(data.subarray(0, third), { binary: false, fin: false });
  socket.send(data.subarray(third, 2 * third), { binary: false, fin: false });
  socket.send(data.subarray(2 * third), { binary: false, fin: true });
}

const token = process.env.LETHE_TEST_TOKEN; // goes as a Bearer header where the test identifies by JWT
const socket = new WebSocket(url, { headers: token ? { authorization: `Bearer ${token}` } : {} });
socket.on('open', () => {
  if (count === 0) socket.close(1000);
  for (let i = 0; i < count; i++) {
    if (i % 3 === 2) sendFragmented(socket, payload(i));
    else socket.send(payload(i), { binary: binary(i) });
    result.sent++;
  }
});
socket.on('message', (data, isBinary) => {
  const i = result.received++;
  if (isBinary !== binary(i) || !payload(i).equals(data)) result.altered++;
  if (result.received === count) socket.close(1000);
});
socket.on('close', (code) => {
  result.code = code;
  finish();
});
socket.on('error', (error) => console.error(`socket: ${error.message}`));
setTimeout(() => {
  console.error(`gave up after ${TIMEOUT_MS} ms`);
  finish();
}, TIMEOUT_MS).unref();
