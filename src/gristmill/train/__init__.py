"""Training between rounds. `worker.py` is a process of its own; what recipes call is `Run.train` and `Run.trainer`."""
