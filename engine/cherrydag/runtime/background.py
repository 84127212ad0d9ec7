"""A thread for work on files: writing checkpoints, merging index runs. One task at a time, in order.

The tasks spend their time in system calls and native code, without the GIL; what they return is handed to
the owner's thread, which alone touches the owner's state.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeAlias

from cherrydag.errors import NoRoom

RETRY_S: Final = 1.0
"""How long a task that finds the disk full waits before it is tried again."""

Done: TypeAlias = Callable[[Any], None]


class _Task(NamedTuple):
    work: Callable[[], Any]
    done: Done


class Background:
    """Runs tasks behind the owner's back. wake: called in the thread when a result waits for `collect`.
    niceness: added to the thread's, for tasks that nobody waits for.

    A task that raises NoRoom is tried again until there is room, and those behind it wait. Another error is
    raised by `collect`: a bug, or a disk that fails.
    """

    def __init__(self, wake: Callable[[], None], niceness: int = 0) -> None:
        self._wake = wake
        self._niceness = niceness
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._results: deque[tuple[Done, Any, BaseException | None]] = deque()
        self._settled = threading.Condition()
        self._outstanding = 0
        self._no_room: NoRoom | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cherrydag-background", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], done: Done) -> None:
        """Run `work` in the thread, then `done` with what it returned, from the owner's collect."""
        self._outstanding += 1
        self._tasks.put(_Task(work, done))

    @property
    def outstanding(self) -> int:
        """Tasks whose result has not been collected."""
        return self._outstanding

    @property
    def no_room(self) -> NoRoom | None:
        """What keeps the task under way from going on."""
        return self._no_room

    def collect(self) -> None:
        """Hand over the results that wait. Raises the error of a task that failed."""
        while self._results:
            done, result, error = self._results.popleft()
            self._outstanding -= 1
            if error is not None:
                raise error
            done(result)

    def drain(self) -> None:
        """Block until nothing is outstanding, what the results lead to included.

        NoRoom if the disk is full.
        """
        while self._outstanding:
            with self._settled:
                self._settled.wait_for(lambda: bool(self._results or self._no_room))
                if not self._results and self._no_room is not None:
                    raise self._no_room
            self.collect()

    def close(self) -> None:
        """Let the task under way finish, drop the others, end the thread. Idempotent."""
        while not self._tasks.empty():
            self._tasks.get_nowait()
        self._closing.set()
        self._tasks.put(None)
        self._thread.join()

    def _run(self) -> None:
        if self._niceness:
            os.nice(self._niceness)  # of this thread alone, as Linux has it
        while (task := self._tasks.get()) is not None:
            result, error = None, None
            try:
                result = self._attempt(task.work)
            except BaseException as caught:  # noqa: BLE001 - raised where the owner collects it
                error = caught
            with self._settled:
                self._no_room = None
                self._results.append((task.done, result, error))
                self._settled.notify()
            self._wake()

    def _attempt(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                return work()
            except NoRoom as error:
                if self._closing.is_set():
                    raise
                with self._settled:
                    self._no_room = error
                    self._settled.notify()
                self._closing.wait(RETRY_S)
