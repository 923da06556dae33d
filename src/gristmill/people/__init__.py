"""People answer what a run waits for: the queue of their tasks, the page that asks, and the way to Label Studio."""
