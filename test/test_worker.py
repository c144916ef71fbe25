import threading

from depthrefl_ros.ros.worker import NewestWorker


class Gate:
    """Work that waits until it is let through, and remembers what it worked on."""

    def __init__(self):
        self.done = []
        self.began = threading.Event()
        self.open = threading.Event()

    def __call__(self, item):
        self.began.set()
        assert self.open.wait(5)
        self.done.append(item)


def test_a_newer_item_replaces_the_one_that_waits():
    gate = Gate()
    worker = NewestWorker(gate, "tested")
    assert worker.submit(1) is None
    assert gate.began.wait(5)
    assert worker.submit(2) is None
    assert worker.submit(3) == 2
    gate.began.clear()
    gate.open.set()
    assert gate.began.wait(5)
    assert worker.stop() is None
    assert gate.done == [1, 3]


def test_stop_waits_for_the_item_at_work_and_hands_back_the_one_that_waits():
    gate = Gate()
    worker = NewestWorker(gate, "tested to stop")
    worker.submit(1)
    assert gate.began.wait(5)
    worker.submit(2)
    threading.Timer(0.1, gate.open.set).start()
    assert worker.stop() == 2
    assert gate.done == [1]
    assert "tested to stop" not in [thread.name for thread in threading.enumerate()]
