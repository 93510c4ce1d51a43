import asyncio
import threading
import time

import pytest

from mmseg_oneformer.serving.batching import BusyError, MicroBatcher


def collect(jobs, **options):
    """Answer ``jobs`` (key, request) at once by doubling; returns answers or exceptions, and the batches."""
    batches = []

    def double(requests):
        batches.append(list(requests))
        return [2 * request for request in requests]

    async def main():
        async with MicroBatcher(double, **options) as batcher:
            return await asyncio.gather(*(batcher.submit(*job) for job in jobs), return_exceptions=True)

    return asyncio.run(main()), batches


def test_together__one_batch_a_key_in_order():
    answers, batches = collect([('a', 1), ('b', 2), ('a', 3), ('b', 4), ('a', 5)], max_batch=2)
    assert answers == [2, 4, 6, 8, 10]
    assert batches == [[1, 3], [2, 4], [5]]


def test_alone__does_not_wait_longer_than_allowed():
    answers, batches = collect([('a', 1)], max_batch=8, max_wait=0.01)
    assert (answers, batches) == ([2], [[1]])


def test_too_many__the_rest_is_refused_at_once():
    answers, _ = collect([('a', k) for k in range(5)], max_batch=1, max_waiting=3)
    assert answers[:3] == [0, 2, 4] and all(isinstance(answer, BusyError) for answer in answers[3:])


def test_error__reaches_the_batch_and_the_next_one_is_answered():
    def picky(requests):
        if 0 in requests:
            raise ZeroDivisionError('no zero')
        return [1 / request for request in requests]

    async def main():
        async with MicroBatcher(picky, max_batch=2) as batcher:
            bad = await asyncio.gather(batcher.submit('a', 0), batcher.submit('a', 1), return_exceptions=True)
            return bad, await batcher.submit('a', 4)

    bad, good = asyncio.run(main())
    assert [type(error) for error in bad] == [ZeroDivisionError] * 2 and good == 0.25


def test_client_left__is_not_computed_and_harms_nobody():
    seen, started, go_on = [], threading.Event(), threading.Event()

    def slow(requests):
        seen.append(list(requests))
        started.set()
        go_on.wait(5)
        return list(requests)

    async def main():
        async with MicroBatcher(slow, max_batch=1) as batcher:
            first = asyncio.create_task(batcher.submit('a', 1))
            while not started.is_set():
                await asyncio.sleep(0.001)
            second, third = (asyncio.create_task(batcher.submit('a', k)) for k in (2, 3))
            await asyncio.sleep(0)
            second.cancel()
            first.cancel()
            go_on.set()
            return await third

    assert asyncio.run(main()) == 3
    assert seen == [[1], [3]]


def test_close__waiting_requests_are_cancelled():
    async def main():
        async with MicroBatcher(lambda requests: time.sleep(0.05) or requests, max_batch=1) as batcher:
            tasks = [asyncio.create_task(batcher.submit('a', k)) for k in range(3)]
            await asyncio.sleep(0.01)
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(answer, asyncio.CancelledError) for answer in asyncio.run(main()))


@pytest.mark.parametrize('options', [{'max_batch': 0}, {'max_waiting': 0}, {'max_wait': -1}])
def test_arguments__nonsense_is_refused(options):
    with pytest.raises(ValueError, match='1 or more'):
        MicroBatcher(list, **options)
