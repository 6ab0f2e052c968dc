#!/usr/bin/python3
"""Sends COUNT messages of SIZE bytes to an echo server: text, binary and fragmented in turn.

Written for Debian's python3-websockets (10.4), which offers permessage-deflate by default.
"""
import asyncio
import json
import os
import sys

import websockets

TIMEOUT_S = 60


def payload(i, size):
    return str(i % 10).encode() * size


def message(i, size):
    """What is given to send(): a list of parts is sent as one fragmented message."""
    data = payload(i, size)
    if i % 3 == 0:
        return data.decode()
    if i % 3 == 1:
        return data
    third = max(1, -(-size // 3))
    return [data.decode()[at:at + third] for at in range(0, max(size, 1), third)]


def unchanged(i, size, got):
    binary = i % 3 == 1
    return isinstance(got, bytes) == binary and (got if binary else got.encode()) == payload(i, size)


async def talk(url, count, size, result):
    token = os.environ.get("LETHE_TEST_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else None
    async with websockets.connect(url, extra_headers=headers) as socket:
        async def send():
            for i in range(count):
                await socket.send(message(i, size))
                result["sent"] += 1

        sender = asyncio.create_task(send())
        for i in range(count):
            got = await socket.recv()
            result["received"] += 1
            result["altered"] += 0 if unchanged(i, size, got) else 1
        await sender


def main(arguments):
    if len(arguments) != 3:
        print("usage: ws_client.py URL COUNT SIZE", file=sys.stderr)
        return 2
    url, count, size = arguments[0], int(arguments[1]), int(arguments[2])
    result = {"sent": 0, "received": 0, "altered": 0}
    try:
        asyncio.run(asyncio.wait_for(talk(url, count, size, result), TIMEOUT_S))
    except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as error:
        print(f"socket: {error!r}", file=sys.stderr)
    print(json.dumps(result))
    return 0 if result["received"] == count and result["altered"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
