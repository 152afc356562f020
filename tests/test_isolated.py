"""Work in processes of its own: what a function must be survived, in which order answers come, what is left behind."""

import ctypes
import os
import signal
import threading
import time

import pytest

from assets.isolated import Lost, isolated, isolated_lists


def behave(item):
    """Do as the item says, in a worker."""
    match item:
        case "crash":
            ctypes.string_at(0)
        case "leave":
            os._exit(3)
        case "hang":
            time.sleep(60)
        case "grow":
            return len(bytearray(8 << 30))
        case "fail":
            raise ValueError("no such luck")
        case "print":
            print("this is not an answer", flush=True)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    return item


def behave_all(items):
    return [behave(item) for item in items]


def process(_item):
    return os.getpid()


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("crash", "died (SIGSEGV)"),
        ("leave", "died (exit code 3)"),
        ("kill", "died (SIGKILL)"),
        ("hang", "longer than 1 s"),
        ("grow", "needs more than 4 GB"),
        ("fail", "ValueError: no such luck"),
    ],
)
def test_what_is_not_survived_is_lost_alone_and_says_why(item, reason):
    answers = list(isolated(behave, [1, item, 2, "print", 3], seconds=1 if item == "hang" else 30))
    assert [answer for answer in answers if not isinstance(answer, Lost)] == [1, 2, "print", 3]
    assert reason in answers[1].reason


def test_order_is_kept_and_few_items_are_under_way():
    taken = []

    def items():
        for number in range(300):
            taken.append(number)
            yield number

    answers = isolated(behave, items())
    assert next(answers) == 0
    assert len(taken) <= 2 * (os.cpu_count() or 1) + 1
    assert list(answers) == list(range(1, 300))


def test_the_others_of_a_lost_list_are_answered():
    found = list(isolated_lists(behave_all, [[1, 2], [3, "crash", 4], [5]], seconds=10))
    assert [items for items, _ in found] == [[1, 2], [3], ["crash"], [4], [5]]
    assert [isinstance(answer, Lost) for _, answer in found] == [False, False, True, False, False]
    assert found[3][1] == [4]


def test_threads_share_the_workers():
    answers = {}

    def work(name):
        answers[name] = list(isolated(process, range(20)))

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(found) for found in answers.values()} == {20}
    assert len(set(answers["a"]) | set(answers["b"])) <= (os.cpu_count() or 1)


def test_an_iteration_that_is_given_up_leaves_the_workers_in_order():
    answers = isolated(behave, range(100))
    assert next(answers) == 0
    del answers
    assert list(isolated(behave, ["x", "y"])) == ["x", "y"]
