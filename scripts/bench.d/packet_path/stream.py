"""One TCP stream whose every byte is known, and what became of it.

    stream.py serve PORT                            answers each connection in a process of its own
    stream.py push|pull HOST PORT SECONDS           sends to, or receives from, the server

Each receiver prints a JSON line for every event (a stall, a wrong byte, a reset) and one every ten seconds; `at` is the
monotonic clock, which is one for the whole machine. The receiver tells the sender at the end how much arrived.
"""

import json
import os
import random
import socket
import struct
import sys
import time

#: The stream repeats after a prime number of bytes: no lost, doubled or swapped segment leaves it as it was.
PERIOD = 1_048_573
PATTERN = random.Random(PERIOD).randbytes(PERIOD)
TWICE = PATTERN + PATTERN
STALL = 1.0
EVERY = 10.0


def say(event, **what):
    print(json.dumps({"at": round(time.monotonic(), 3), "event": event, **what}), flush=True)


def send(connection, seconds, name):
    """Full rate until the time is over; the receiver's count must be ours."""
    end, sent, at = time.monotonic() + seconds, 0, 0
    try:
        while time.monotonic() < end:
            some = connection.send(memoryview(TWICE)[at:at + 262_144])
            sent, at = sent + some, (at + some) % PERIOD
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(60)
        told = connection.recv(8, socket.MSG_WAITALL)
        arrived = struct.unpack("!Q", told)[0] if len(told) == 8 else None
        say("sent" if arrived == sent else "short", stream=name, bytes=sent, arrived=arrived)
    except OSError as e:
        say("reset", stream=name, bytes=sent, why=str(e))


def receive(connection, name):
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    total, last, said = 0, time.monotonic(), time.monotonic()
    try:
        while some := connection.recv_into(buffer):
            now = time.monotonic()
            if now - last > STALL:
                say("stall", stream=name, seconds=round(now - last, 3), bytes=total)
            last = now
            if not TWICE.startswith(view[:some], total % PERIOD) and not slow(view[:some], total % PERIOD):
                say("corrupt", stream=name, bytes=total)
                return
            total += some
            if now - said > EVERY:
                say("progress", stream=name, bytes=total)
                said = now
        connection.sendall(struct.pack("!Q", total))
        say("received", stream=name, bytes=total)
    except OSError as e:
        say("reset", stream=name, bytes=total, why=str(e))


def slow(piece, at):
    """A piece may be longer than what is left of the doubled pattern."""
    return all(
        TWICE.startswith(piece[o:o + PERIOD], (at + o) % PERIOD) for o in range(0, len(piece), PERIOD)
    )


def serve(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            mode, seconds = struct.unpack("!BI", connection.recv(5, socket.MSG_WAITALL))
            receive(connection, "a to b") if mode == 0 else send(connection, seconds, "b to a")
            os._exit(0)
        connection.close()


def call(mode, host, port, seconds):
    connection = socket.create_connection((host, port), timeout=30)
    connection.settimeout(None)
    connection.sendall(struct.pack("!BI", 0 if mode == "push" else 1, seconds))
    send(connection, seconds, "a to b") if mode == "push" else receive(connection, "b to a")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        call(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
