"""Reading ahead and writing behind: what overlaps, what comes when, and how both end."""

import threading

import pytest

from mmseg_oneformer.apis.pipelining import read_ahead, write_behind

SOON = 60  # seconds; what waits so long has failed


def test_read_ahead__in_order_and_not_further_than_asked():
    begun, reached = [], threading.Semaphore(0)

    def read(item):
        begun.append(item)
        reached.release()
        return item * item

    images = read_ahead(read, range(9), 2)
    item, result = next(images)
    assert (item, result.result()) == (0, 0)
    assert all(reached.acquire(timeout=SOON) for _ in range(3))
    assert begun == [0, 1, 2]  # two that were not requested
    assert [(item, result.result()) for item, result in images] == [(k, k * k) for k in range(1, 9)]


def test_read_ahead__error_when_its_turn_has_come():
    def read(item):
        if item == 1:
            raise ValueError('no photo')
        return item

    results = [result for _, result in read_ahead(read, range(3), 2)]
    assert results[0].result() == 0 and results[2].result() == 2
    with pytest.raises(ValueError, match='no photo'):
        results[1].result()


def test_read_ahead__left_early():
    begun, may_end = [], threading.Event()

    def read(item):
        begun.append(item)
        assert may_end.wait(SOON)

    threads = set(threading.enumerate())
    images = read_ahead(read, range(9), 3)
    next(images)
    may_end.set()
    images.close()
    assert set(threading.enumerate()) <= threads and len(begun) <= 4


def test_write_behind__while_the_next_batch_is_made():
    second_is_being_made, first_is_written = threading.Event(), threading.Event()

    def batches():
        yield [1]
        second_is_being_made.set()
        assert first_is_written.wait(SOON)
        yield [2, 3]

    def write(item):
        assert second_is_being_made.wait(SOON)
        first_is_written.set()
        written.append(item)

    written = []
    for item in write_behind(write, batches()):
        assert item in written  # an item comes after its files
    assert written == [1, 2, 3]


@pytest.mark.parametrize('empty', [[], [[]], [[], []]])
def test_write_behind__nothing(empty):
    assert list(write_behind(print, empty)) == []


def test_write_behind__items_before_an_error_come_first():
    def batches():
        yield [1, 2]
        raise ValueError('no photo')

    written: list[int] = []
    results = write_behind(written.append, batches())
    assert [next(results), next(results)] == [1, 2] == written
    with pytest.raises(ValueError, match='no photo'):
        next(results)


def test_write_behind__failure_to_write():
    def write(item):
        if item == 2:
            raise OSError('disk full')

    results = write_behind(write, [[1], [2], [3]])
    assert next(results) == 1
    with pytest.raises(OSError, match='disk full'):
        list(results)


@pytest.mark.parametrize('interruption', [KeyboardInterrupt, GeneratorExit])
def test_write_behind__interrupted(interruption):
    """What is being written gets done, nothing else comes."""

    def batches():
        yield [1]
        raise interruption

    written, threads = [], set(threading.enumerate())
    with pytest.raises((interruption, StopIteration)):
        next(write_behind(written.append, batches()))
    assert written in ([], [1]) and set(threading.enumerate()) <= threads
