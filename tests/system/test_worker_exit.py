"""What becomes of a pool when its process ends, forks or is interrupted; each case is its own process."""

import signal
import subprocess
import sys
import textwrap

import pytest
from compiled import ROOT
from worker_jobs import GUARD_S, comes_true, library, readable

PRELUDE = """
import asyncio, gc, os, signal, sys, threading, time
sys.path[:0] = ["engine", "tests"]
from worker_jobs import GUARD_S, Gate, add_job, all_threads_gone, job_runs, readable
from cherrydag._native.workers import Ring
from cherrydag.errors import Closed
from cherrydag.runtime.workers import WorkerPool

pool = WorkerPool(2, 64)
gate = Gate()

def open_when_discarded():
    # No job can end before the gate is open, so the first results are those of discarded jobs.
    descriptor = os.dup(pool._ring.eventfd)
    gate.open_when(lambda: readable(descriptor))

def fill():
    # Two jobs run and sixty wait. Whoever waits for the sixty, instead of discarding them, hangs.
    open_when_discarded()
    tickets = [pool.submit(add_job(b"a" * 100_000, gate=gate)) for _ in range(62)]
    gate.wait_started(2)
    return tickets

def interrupt(number, frame):
    signal.signal(number, signal.SIG_IGN)  # the sender repeats itself
    raise KeyboardInterrupt
"""

FORKS = ["-W", "ignore:This process:DeprecationWarning"]  # newer Pythons warn of a fork beside threads


def start(script):
    library()
    options = ["-W", "error", *FORKS, "-X", "faulthandler"]
    command = [sys.executable, *options, "-c", PRELUDE + textwrap.dedent(script)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def end(process):
    """Exit status, standard output and standard error; fails if the process hangs."""
    with process:
        try:
            out, err = process.communicate(timeout=3 * GUARD_S)
        finally:
            process.kill()
    return process.returncode, out.strip(), err.strip()


def run(script):
    return end(start(script))


def run_interrupted(script):
    """Run a script that prints "ready" and then waits; send SIGINT until it prints on.

    One signal might come just before the wait begins, and not wake it.
    """
    process = start("signal.signal(signal.SIGINT, interrupt)\n" + textwrap.dedent(script))

    def answers():
        if readable(process.stdout, 0.1):
            return True
        process.send_signal(signal.SIGINT)
        return False

    if process.stdout.readline() == "ready\n":
        comes_true(answers)
    return end(process)


@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise RuntimeError('boom')", 1, "RuntimeError: boom"),
        ("os._exit(4)", 4, ""),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("del pool, tickets; gc.collect()", 0, ""),
        ("pool.cycle = pool; del pool, tickets; gc.collect()", 0, ""),
        ("sys.modules['kept'] = pool; del pool", 0, ""),
        ("pool.close(drain=False)", 0, ""),
        ("import ctypes; ctypes.pythonapi.Py_IncRef(ctypes.py_object(pool._ring))", 0, ""),  # never freed
        ("threading.Thread(target=time.sleep, args=(0.3,)).start()", 0, ""),
        ("threading.Thread(target=pool._ring.wait, args=(60,), daemon=True).start(); time.sleep(.05)", 0, ""),
    ],
)
def test_exit_with_running_and_queued_jobs(ending, status, error):
    code, out, err = run("tickets = fill()\nprint('filled', flush=True)\n" + ending)
    assert (code, out) == (status, "filled")
    assert err.endswith(error)
    assert bool(err) == bool(error)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_exit_from_a_loop_with_waiting_callers(loop):
    code, _, err = run(f"""
        import {loop}
        async def main():
            open_when_discarded()
            calls = [asyncio.ensure_future(pool.run_async(add_job(b"a", gate=gate))) for _ in range(90)]
            await asyncio.sleep(0)
            gate.wait_started(2)
        {loop}.run(main())
    """)
    assert (code, err) == (0, "")


def test_forked_child_is_refused_at_once_and_the_parent_goes_on():
    code, out, err = run("""
        tickets = fill()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            signal.alarm(GUARD_S)  # should it hang
            message = f"belongs to process {parent}; open one in this process"
            calls = [lambda: pool.run(add_job(b"a")), lambda: pool.submit(add_job(b"a")), tickets[0].result,
                     pool.drain, lambda: asyncio.run(pool.run_async(add_job(b"a"))), pool.stats,
                     pool._ring.collect, pool._ring.wait, lambda: pool._ring.submit(add_job(b"a")),
                     lambda: pool._ring.eventfd]
            refused = 0
            for call in calls:
                try:
                    call()
                except Closed as error:
                    refused += "process" in str(error) and message in str(error)
            pool.close()
            with WorkerPool(1) as own:
                fresh = own.run(add_job(b"a", add=1)) == b"b"
            del pool, tickets
            sys.exit(10 if refused == len(calls) and fresh else 11)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, gate.is_open)
        gate.open()
        print(tickets[3].result() == b"a" * 100_000)
    """)
    assert (code, out, err) == (0, "10 False\nTrue", "")


def test_child_forked_at_any_moment_is_refused():
    """The fork meets workers that hold the pool's lock; the child must never want it."""
    code, out, err = run("""
        for _ in range(40):
            tickets = [pool.submit(add_job(b"a")) for _ in range(60)]
            child = os.fork()
            if child == 0:
                signal.alarm(GUARD_S)  # should it hang
                try:
                    pool.submit(add_job(b"a"))
                except Closed:
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
            assert [ticket.result() for ticket in tickets] == [b"a"] * 60
        print("done")
    """)
    assert (code, out, err) == (0, "done", "")


def test_interrupt_goes_to_the_main_thread():
    code, out, err = run_interrupted("""
        try:
            print("ready", flush=True)
            pool.run(add_job(b"a", gate=gate))
        except KeyboardInterrupt:
            print(threading.current_thread() is threading.main_thread(), gate.is_open, flush=True)
            gate.open()
    """)
    assert (code, out, err) == (0, "True False", "")


def test_interrupted_block_discards_and_ends():
    code, out, err = run_interrupted("""
        try:
            with pool:
                tickets = fill()
                print("ready", flush=True)
                tickets[-1].result()
        except KeyboardInterrupt:
            print(all_threads_gone(), job_runs())
    """)
    assert (code, out, err) == (0, "True 2", "")


def test_a_crash_inside_a_job_is_reported_by_its_thread():
    code, _, err = run("""
        import ctypes
        from cherrydag._native.workers import Job
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        name = b"cherrydag.job"
        pool.run(Job(new(16, name, None), (), (), 0))  # address 16 is no function
    """)
    assert code == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in err
