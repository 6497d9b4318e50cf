"""A gate before a server: shut, nothing gets through, and what the server holds stays."""

import select
import socket
import threading
from contextlib import suppress


class Gate:
    """Passes connections on to a port; shut, it refuses new ones and cuts those that are open."""

    def __init__(self, target):
        self.target = target
        self.port = None
        self.num_bytes = 0
        """How many came from the server."""
        self.cut_after = None
        """Bytes from the server after which everything is cut and the gate shuts."""
        self._listener = None
        self._open = set()
        self._lock = threading.Lock()

    def open(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port or 0))
        listener.listen(64)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self):
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def is_open(self):
        return self._listener is not None

    def _accept(self, listener):
        with listener, suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self.target)) as server, suppress(OSError):
            with self._lock:
                self._open |= {client, server}
            try:
                self._pass_on(client, server)
            finally:
                with self._lock:
                    self._open -= {client, server}

    def _pass_on(self, client, server):
        while True:
            for source in select.select([client, server], [], [])[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                (server if source is client else client).sendall(data)
                self.num_bytes += len(data) * (source is server)
                if source is server and self.cut_after is not None:
                    self.cut_after -= len(data)
                    if self.cut_after < 0:
                        self.cut_after = None
                        self.shut()
