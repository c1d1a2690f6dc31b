"""Work in a process of its own: its answers, its refusals, and its bounds."""

import os
import sys
import time

import pytest

from analysis.core import sandbox
from analysis.core.errors import BenchmarkError

MEMORY = 1 << 30
only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="the bound of memory holds on Linux alone"
)


def told(*texts):
    return list(texts)


def refused():
    raise BenchmarkError("That cannot be.")


def talkative():
    print("a library says something")
    os.write(1, b"and so does its code in C")
    return 5


def greedy():
    return len(bytearray(8 << 30))


def endless():
    time.sleep(600)


def ask(name, *texts, seconds=30.0):
    return sandbox.answer(f"{__name__}:{name}", *texts, memory_bytes=MEMORY, seconds=seconds)


@pytest.mark.slow
def test_return_values_and_refusals_of_a_function_are_passed_on():
    assert ask("told", "a", "é\n") == ["a", "é\n"]
    with pytest.raises(BenchmarkError, match="That cannot be"):
        ask("refused")


def test_printed_text_of_a_library_is_not_in_the_answer():
    assert ask("talkative") == 5


@only_linux
def test_more_memory_than_was_given_ends_it():
    with pytest.raises(sandbox.OverLimitError, match="1,024 MB of memory"):
        ask("greedy")


@pytest.mark.slow
def test_more_time_than_was_given_ends_it():
    began = time.perf_counter()
    with pytest.raises(sandbox.OverLimitError, match=r"1\.5 s"):
        ask("endless", seconds=1.5)
    assert time.perf_counter() - began < 15


def test_a_fault_of_ours_stays_loud():
    with pytest.raises(RuntimeError, match="AttributeError"):
        ask("missing")
