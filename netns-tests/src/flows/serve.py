# A server with one flow of every kind: argv TCP-PORT UDP-PORT. A TCP client says what it wants in its first line.
import socket, sys, threading

tcp, udp = (int(a) for a in sys.argv[1:])
zeros = bytes(65536)


def talk(conn):
    try:
        wish = conn.makefile("r").readline().strip()
        while wish == "bulk":
            conn.sendall(zeros)
            threading.Event().wait(0.03)
        while conn.recv(4096):
            pass
    except OSError:
        pass


def echo():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", udp))
    while True:
        data, peer = s.recvfrom(2048)
        try:
            s.sendto(data, peer)
        except OSError:
            pass


threading.Thread(target=echo, daemon=True).start()
door = socket.create_server(("0.0.0.0", tcp), backlog=64)
print("ready", flush=True)
while True:
    conn, _ = door.accept()
    threading.Thread(target=talk, args=(conn,), daemon=True).start()
