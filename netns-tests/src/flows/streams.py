# Two long TCP streams, every byte of which is known: `serve PORT` | `open SERVER PORT`. The client takes one and gives the
# other, about 300 kB/s each; it ends at the first error, or well when told to (SIGTERM).
import signal, socket, sys, threading, time

BLOCK = 8192
RATE = 0.027


def block(number):
    return b"".join(((number * 1024 + i) & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big") for i in range(1024))


def give(conn, count):
    number = 0
    while True:
        conn.sendall(block(number))
        number += 1
        count[0] = number * BLOCK
        time.sleep(RATE)


def take(conn, count):
    number, rest = 0, b""
    while True:
        data = conn.recv(65536)
        if not data:
            raise OSError("the other end closed")
        rest += data
        while len(rest) >= BLOCK:
            if rest[:BLOCK] != block(number):
                raise OSError("a wrong byte in block %d" % number)
            rest, number = rest[BLOCK:], number + 1
            count[0] = number * BLOCK


def serve(port):
    door = socket.create_server(("0.0.0.0", port))
    print("ready", flush=True)
    while True:
        conn, _ = door.accept()
        work = give if conn.recv(1) == b"d" else take
        threading.Thread(target=quiet, args=(work, conn), daemon=True).start()


def quiet(work, conn):
    try:
        work(conn, [0])
    except OSError as e:
        print("server:", e, flush=True)


def client(server, port):
    wrong, counts = [], ([0], [0])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def run(work, wish, count):
        try:
            conn = socket.create_connection((server, port))
            conn.sendall(wish)
            work(conn, count)
        except OSError as e:
            wrong.append(str(e))

    threading.Thread(target=run, args=(take, b"d", counts[0]), daemon=True).start()
    threading.Thread(target=run, args=(give, b"u", counts[1]), daemon=True).start()
    while not stop.wait(0.2) and not wrong:
        print("got", counts[0][0], "gave", counts[1][0], flush=True)
    print("got", counts[0][0], "gave", counts[1][0], flush=True)
    if wrong:
        print("broken:", wrong, flush=True)
        sys.exit(1)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    client(sys.argv[2], int(sys.argv[3]))
