import os
import signal
import subprocess
import sys
import threading

import pytest

from tune.interruption import stoppable

SCRIPT = """
import os, signal
from tune.interruption import stoppable
with stoppable():
    try:
        os.kill(os.getpid(), signal.{first})
    except KeyboardInterrupt:
        print("cleaning", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        print("still here", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stoppable_turns_the_first_signal_into_an_interrupt_and_restores_handlers(number):
    before = signal.getsignal(number)
    with stoppable(), pytest.raises(KeyboardInterrupt, match=r"^$"):
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_stoppable_ends_the_process_at_the_second_signal(first):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first=first)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "cleaning\n")


def test_stoppable_does_nothing_in_other_threads():
    handlers = []

    def work():
        with stoppable():
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
