import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from trustee_jax.training.stopping import Stopper


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_stays(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with Stopper() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert stop()
    assert signal.getsignal(number) is before
    assert f"stopping ({number.name})" in capfd.readouterr().err


def test_the_second_ctrl_c_interrupts() -> None:
    # A shell's background jobs ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Stopper() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


_SWALLOWER = textwrap.dedent(
    """
    import gc, os, signal
    from trustee_jax.commands.train import _ended_by_interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.callbacks.append(lambda phase, info: os.kill(os.getpid(), signal.SIGINT))
    with _ended_by_interrupt():
        gc.collect()
    print("went on")
    """
)


def test_ctrl_c_before_there_is_a_run_is_not_swallowed() -> None:
    """Python passes over what a callback of its garbage collector raises."""
    command = [sys.executable, "-c", _SWALLOWER]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout) == (130, "")


_WORKER = textwrap.dedent(
    """
    import os, signal, sys, time
    import jax
    from trustee_jax.training.stopping import Stopper
    port, process, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
    with Stopper() as stop:
        for call in range(2000):
            if call == 20 and process == 1:
                os.kill(os.getpid(), number)
            if stop():
                assert stop()
                print("stopped at", call)
                break
            # Processes that run at different speeds must still stop at the same call.
            time.sleep(0.01 + 0.005 * process)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_processes_stop_at_the_same_call(number: signal.Signals) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(port), str(process), str(int(number))],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XLA_FLAGS": ""},
        )
        for process in range(2)
    ]
    outputs = [worker.communicate(timeout=100)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert outputs[0].startswith("stopped at")
    assert outputs[0] == outputs[1]
