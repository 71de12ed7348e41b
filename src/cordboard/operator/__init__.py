"""The operator: hands each accepted join to a runner, and recovers sessions whose runner died.

It is level-triggered, like a Kubernetes controller: each step reads the state from Redis and acts on it. An
operator keeps nothing that it could not read again, so any number of operators may run, and each of them may
die at any moment.

- ``loop.py``: the steps that run side by side;
- ``placement.py``, ``handover.py``: where a join goes, and the part of a hand-over that takes time;
- ``transfer.py``: joins that another operator has to start;
- ``recovery.py``, ``plan.py``: sessions whose lease has run out, and the pure decision about them;
- ``pod_marks.py``: on Kubernetes, the marks that tell which runners' pods have sessions;
- ``runner_client.py``: requests to runners.
"""
