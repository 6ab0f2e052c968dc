// Answers every Socket.IO event, with and without attachments, and counts the WebSocket messages below it.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';

const counts = { connections: 0, received: 0, sent: 0 };

// Engine.IO takes its WebSocket server as an option: every message of every connection passes here. Only a broadcast goes round
// `send` (its frame is encoded once for all), and this server never broadcasts.
class CountingServer extends WebSocketServer {
  handleUpgrade(request, stream, head, done) {
    super.handleUpgrade(request, stream, head, (socket, ...rest) => {
      counts.connections++;
      socket.on('message', () => counts.received++);
      const send = socket.send.bind(socket);
      socket.send = (...parts) => {
        counts.sent++;
        send(...parts);
      };
      done(socket, ...rest);
    });
  }
}

const http = createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.statusCode = request.url === '/counts' ? 200 : 404;
  response.end(JSON.stringify(counts));
});

const io = new Server(http, { transports: ['websocket'], wsEngine: CountingServer });
io.on('connection', (socket) => {
  socket.on('echo', (data) => socket.emit('echo', data));
  socket.on('ask', (data, answer) => answer(data));
});

process.on('SIGTERM', () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});
http.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: http.address().port })));
