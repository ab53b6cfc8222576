# Opens one flow of every kind: argv SERVER TCP-PORT UDP-PORT SILENT-PORT. Prints `ready` once all live, and a line of JSON
# for each that ends: when the last packet came, and when (and how) the application was told. Times are CLOCK_MONOTONIC,
# which all namespaces of one machine share.
import errno, json, os, select, socket, struct, sys, threading, time

server, tcp, udp, silent = sys.argv[1], *(int(a) for a in sys.argv[2:])
now = time.monotonic
QUIET = 10.0  # so long without a packet: it was cut, and nobody said so
live, lock = set(), threading.Lock()


def alive(kind):
    with lock:
        live.add(kind)


def ended(kind, last, told, how):
    with lock:
        print(json.dumps({"kind": kind, "last": last, "told": told, "how": how}), flush=True)


def name(e):
    return errno.errorcode.get(e.errno, str(e)) if isinstance(e, OSError) else str(e)


def connect(wish):
    s = socket.create_connection((server, tcp), timeout=10)
    s.sendall(wish + b"\n")
    s.settimeout(QUIET)
    return s


def bulk():
    s, last = connect(b"bulk"), None
    try:
        while s.recv(262144):
            last = now()
            alive("tcp-bulk")
        ended("tcp-bulk", last, now(), "closed")
    except TimeoutError:
        ended("tcp-bulk", last, None, "silence")
    except OSError as e:
        ended("tcp-bulk", last, now(), name(e))


def idle():
    s = connect(b"idle")
    s.settimeout(None)
    alive("tcp-idle")
    try:
        s.recv(1)
        ended("tcp-idle", None, now(), "closed")
    except OSError as e:
        ended("tcp-idle", None, now(), name(e))


def half_open():
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex((server, silent))
    alive("tcp-half-open")
    select.select([], [s], [], None)
    ended("tcp-half-open", None, now(), errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "connected"))


def datagrams():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((server, udp))
    s.settimeout(0.05)
    last, told, how = None, None, None
    while last is None or now() - last < QUIET:
        try:
            s.send(b"x")
            s.recv(64)
            last = now()
            alive("udp")
            time.sleep(0.02)
        except TimeoutError:
            pass
        except OSError as e:
            if last is not None and told is None:
                told, how = now(), name(e)
            time.sleep(0.02)
    ended("udp", last, told, how)


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def pings():
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.settimeout(0.05)
    last, number, ident = None, 0, os.getpid() & 0xFFFF
    while last is None or now() - last < QUIET:
        number = (number + 1) & 0xFFFF
        head = struct.pack("!BBHHH", 8, 0, 0, ident, number)
        try:
            s.sendto(struct.pack("!BBHHH", 8, 0, checksum(head), ident, number), (server, 0))
            while True:
                data, peer = s.recvfrom(256)
                if peer[0] == server and data[20] == 0 and data[24:26] == struct.pack("!H", ident):
                    last = now()
                    alive("icmp")
                    break
            time.sleep(0.02)
        except OSError:
            pass
    ended("icmp", last, None, None)


kinds = [bulk, idle, half_open, datagrams, pings]
threads = [threading.Thread(target=kind, daemon=True) for kind in kinds]
for thread in threads:
    thread.start()
while len(live) < len(kinds):
    time.sleep(0.02)
print("ready", flush=True)
for thread in threads:
    thread.join()
print("done", flush=True)
