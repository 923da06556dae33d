"""gristmill: every published way of making training data for language models, over one durable engine."""
