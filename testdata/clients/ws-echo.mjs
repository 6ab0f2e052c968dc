// Echoes every message of every connection, unchanged, and counts them.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const counts = { connections: 0, received: 0, sent: 0 };

const http = createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.statusCode = request.url === '/counts' ? 200 : 404;
  response.end(JSON.stringify(counts));
});

const server = new WebSocketServer({ server: http, perMessageDeflate: process.argv.includes('--deflate') });
server.on('connection', (socket) => {
  counts.connections++;
  socket.on('message', (data, binary) => {
    counts.received++;
    counts.sent++;
    socket.send(data, { binary });
  });
  // A client that is killed is part of some tests; its reset is not a fault of this server.
  socket.on('error', (error) => console.error(`socket: ${error.message}`));
});

process.on('SIGTERM', () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});
http.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: http.address().port })));
