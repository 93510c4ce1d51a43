import asyncio
import threading
import weakref

import pytest

from mmseg_oneformer.serving.batching import MicroBatcher

SOON = 60  # seconds; what waits so long has failed


def run(work):
    return asyncio.run(asyncio.wait_for(work, SOON))


async def until(condition):
    """Wait until something is true."""
    while not condition():
        await asyncio.sleep(0.001)


def collect(jobs, **options):
    """Run ``jobs`` (key, request) at once by doubling; returns responses or exceptions, and the batches."""
    batches = []

    def double(key, requests):
        batches.append((key, list(requests)))
        return [2 * request for request in requests]

    async def main():
        async with MicroBatcher(double, **options) as batcher:
            return await asyncio.gather(*(batcher.submit(*job) for job in jobs), return_exceptions=True)

    return run(main()), batches


def test_together__one_batch_a_key_in_order():
    responses, batches = collect([('a', 1), ('b', 2), ('a', 3), ('b', 4), ('a', 5)], max_batch=2)
    assert responses == [2, 4, 6, 8, 10]
    assert batches == [('a', [1, 3]), ('b', [2, 4]), ('a', [5])]


def test_alone__does_not_wait_longer_than_allowed():
    responses, batches = collect([('a', 1)], max_batch=8, max_wait=0.01)
    assert (responses, batches) == ([2], [('a', [1])])


def test_full__goes_at_once():
    responses, batches = collect([('a', k) for k in range(4)], max_batch=2, max_wait=2 * SOON)
    assert responses == [0, 2, 4, 6] and len(batches) == 2


def test_error__reaches_its_request_alone():
    def picky(key, requests):
        if 0 in requests:
            raise ZeroDivisionError('no zero')
        return [1 / request for request in requests]

    async def main():
        async with MicroBatcher(picky, max_batch=2) as batcher:
            bad = await asyncio.gather(batcher.submit('a', 0), batcher.submit('a', 1), return_exceptions=True)
            return bad, await batcher.submit('a', 4)

    (bad, beside), good = run(main())
    assert isinstance(bad, ZeroDivisionError) and (beside, good) == (1, 0.25)


@pytest.mark.parametrize(
    'kind', [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError, BaseException]
)
def test_error__of_any_kind_reaches_its_request_and_the_next_are_served(kind):
    """An event loop would end, or take the request for cancelled, or hand on nothing at all."""

    def picky(key, requests):
        if 0 in requests:
            raise kind
        return list(requests)

    async def main():
        async with MicroBatcher(picky, max_batch=2) as batcher:
            bad = await asyncio.gather(batcher.submit('a', 0), batcher.submit('a', 1), return_exceptions=True)
            return bad, await batcher.submit('a', 4)

    (bad, beside), good = run(main())
    assert isinstance(bad, RuntimeError) and isinstance(bad.__cause__, kind) and (beside, good) == (1, 4)


def test_error__its_memory_is_free_before_the_batch_is_run_again():
    class Memory:
        pass

    seen = []

    def greedy(key, requests):
        held = Memory()
        assert all(reference() is None for reference in seen)
        seen.append(weakref.ref(held))
        if len(requests) > 1:
            raise MemoryError
        return list(requests)

    async def main():
        async with MicroBatcher(greedy, max_batch=2) as batcher:
            return await asyncio.gather(batcher.submit('a', 1), batcher.submit('a', 2))

    assert run(main()) == [1, 2] and len(seen) == 3


def test_client_left__is_not_computed_and_harms_nobody():
    seen, go_on = [], threading.Event()

    def slow(key, requests):
        seen.append(list(requests))
        go_on.wait(SOON)
        return list(requests)

    async def main():
        async with MicroBatcher(slow, max_batch=1) as batcher:
            first = asyncio.create_task(batcher.submit('a', 1))
            await until(lambda: seen)
            second, third = (asyncio.create_task(batcher.submit('a', k)) for k in (2, 3))
            await asyncio.sleep(0)
            second.cancel()
            first.cancel()
            go_on.set()
            return await third

    assert run(main()) == 3
    assert seen == [[1], [3]]


def test_close__waiting_requests_are_cancelled():
    seen, go_on = [], threading.Event()

    def slow(key, requests):
        seen.append(list(requests))
        go_on.wait(SOON)
        return list(requests)

    async def main():
        async with MicroBatcher(slow, max_batch=1) as batcher:
            tasks = [asyncio.create_task(batcher.submit('a', k)) for k in range(3)]
            await until(lambda: seen)
        responses = await asyncio.gather(*tasks, return_exceptions=True)
        go_on.set()
        return responses

    assert [type(response) for response in run(main())] == [asyncio.CancelledError] * 3 and seen == [[0]]


def test_closed__is_said():
    batcher = MicroBatcher(lambda key, requests: requests)

    async def main():
        async with batcher:
            assert await batcher.submit('a', 1) == 1
        await batcher.submit('a', 2)

    with pytest.raises(RuntimeError, match='closed'):
        run(main())


def test_wrong_number_of_responses__is_an_error():
    async def main():
        async with MicroBatcher(lambda key, requests: []) as batcher:
            await batcher.submit('a', 1)

    with pytest.raises(ValueError, match='shorter'):
        run(main())


def test_counts__batches_and_requests():
    async def main():
        async with MicroBatcher(lambda key, requests: requests, max_batch=4) as batcher:
            await asyncio.gather(*(batcher.submit('a', k) for k in range(6)))
            return batcher.batches, batcher.requests

    assert run(main()) == (2, 6)


def test_other_key_waits__no_longer_than_the_batch_before():
    seen = []

    async def main():
        async with MicroBatcher(lambda key, requests: seen.append(key) or requests, max_batch=9) as batcher:
            jobs = [batcher.submit('b' if k == 1 else 'a', k) for k in range(40)]
            await asyncio.gather(*jobs)

    run(main())
    assert seen[:2] == ['a', 'b']


@pytest.mark.parametrize('options', [{'max_batch': 0}, {'max_wait': -1}])
def test_arguments__nonsense_is_rejected(options):
    with pytest.raises(ValueError, match='1 photo or more'):
        MicroBatcher(list, **options)


def test_client_left__its_place_in_the_batch_is_taken():
    seen, go_on = [], threading.Event()

    def slow(key, requests):
        seen.append(list(requests))
        go_on.wait(SOON)
        return list(requests)

    async def main():
        async with MicroBatcher(slow, max_batch=2) as batcher:
            busy = [asyncio.create_task(batcher.submit('a', k)) for k in (1, 2)]
            await until(lambda: seen)
            left, *others = [asyncio.create_task(batcher.submit('a', k)) for k in (3, 4, 5)]
            await asyncio.sleep(0)  # they are in the queue
            left.cancel()
            await asyncio.sleep(0)
            go_on.set()
            return await asyncio.gather(*busy, *others)

    assert run(main()) == [1, 2, 4, 5] and seen == [[1, 2], [4, 5]]
