"""Models: one protocol, and a backend for each way of reaching a model."""
