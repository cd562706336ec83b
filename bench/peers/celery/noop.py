"""A Celery application with a task that does nothing; python3 noop.py N pushes N of them."""
import os
import sys

from celery import Celery

app = Celery("noop", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_RESULTS"])


@app.task(name="noop")
def noop():
    return None


if __name__ == "__main__":
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(int(sys.argv[1])):
            app.send_task("noop", producer=producer, ignore_result=False)
