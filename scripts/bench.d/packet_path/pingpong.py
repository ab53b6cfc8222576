"""Request and response over TCP, and new connections per second: a small server and its clients, run as a script.

    pingpong.py serve ADDRESS PORT
    pingpong.py ask ADDRESS PORT SECONDS SIZE       one JSON object: round trips in microseconds
    pingpong.py connect ADDRESS PORT SECONDS        one JSON object: time of each connect

The server answers every message of a connection with the same bytes. Who waits for a message longer than 10 s fails.
"""

import json
import socket
import sys
import threading
import time


def serve(address, port):
    with socket.create_server((address, port), backlog=4096) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=echo, args=(connection,), daemon=True).start()


def echo(connection):
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass  # the client is gone


def whole(connection, size):
    left = size
    while left:
        data = connection.recv(left)
        if not data:
            raise ConnectionError("the far end closed")
        left -= len(data)


def ask(address, port, seconds, size):
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message, clock = b"x" * size, time.perf_counter_ns
        for _ in range(100):  # the handshake of the tunnel, the caches
            connection.sendall(message)
            whole(connection, size)
        taken, end = [], clock() + int(seconds * 1e9)
        while (start := clock()) < end:
            connection.sendall(message)
            whole(connection, size)
            taken.append(clock() - start)
    return summary(taken, seconds)


def connect(address, port, seconds):
    """The median is what counts: a server that accepts too slowly makes the slowest wait for a second SYN."""
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter_ns()
        with socket.create_connection((address, port), timeout=10) as connection:
            taken.append(time.perf_counter_ns() - start)
            # Reset at once: no port stays in TIME_WAIT.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return summary(taken, seconds)


def summary(taken, seconds):
    taken.sort()
    at = lambda share: taken[min(len(taken) - 1, int(len(taken) * share))] / 1e3
    return {"n": len(taken), "per_s": len(taken) / seconds, "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1)}


if __name__ == "__main__":
    verb, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if verb == "serve":
        serve(address, port)
    elif verb == "ask":
        print(json.dumps(ask(address, port, float(sys.argv[4]), int(sys.argv[5]))))
    else:
        print(json.dumps(connect(address, port, float(sys.argv[4]))))
