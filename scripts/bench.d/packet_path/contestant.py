"""What is measured: a tunnel between two hosts, or the bare wire."""

from process import Failed, NotApplicable, run, wait_for
from street import A, B, Street


class Contestant:
    """The bare wire; every tunnel is one of these with more in it."""

    #: Addresses of the two ends as applications use them.
    a, b = A, B

    def __init__(self, name):
        self.name = name
        self.street = None
        #: The tunnel processes of both ends.
        self.daemons = []

    def up(self):
        self.street = Street(self.name)
        self.start_up()

    def start_up(self):
        """Starts the tunnel; a failure tells what its programs said."""
        try:
            self.begin()
            self.reach()
        except Failed as e:
            raise Failed(f"{e}\n{self.tails()}") from e

    def begin(self):
        """Starts the tunnel in the street."""

    def end(self):
        """Stops the tunnel, keeps the street."""
        for daemon in self.daemons:
            daemon.stop()
        self.daemons = []

    def down(self):
        if self.street:
            try:
                self.end()
            finally:
                self.street.down()
                self.street = None

    def reach(self, limit=20):
        """Waits until the far end answers."""
        ping = lambda: "1 received" in run(["ping", "-n", "-c1", "-W1", self.b], self.street.a, check=False)
        wait_for(f"{self.name}: the far end answers", ping, limit)

    def ready(self):
        """Up, alive and reachable before a test; starts again what died."""
        if self.street is None:
            self.up()
            return
        if not all(d.alive() for d in self.daemons):
            self.end()
            self.start_up()
        self.reach()

    def twin(self):
        """Another of the kind, for what would disturb later tests."""
        raise NotApplicable()

    def invite(self, count):
        """End A has `count` peers more, and was started with them."""
        raise NotApplicable()

    def tails(self):
        return "\n".join(f"--- {d.log}\n{d.tail()}" for d in self.daemons)

    def cpu_seconds(self):
        return sum(d.cpu_seconds() for d in self.daemons)

    def about(self):
        """Version or path, for the report."""
        return "veth without a tunnel"
