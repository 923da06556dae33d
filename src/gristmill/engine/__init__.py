"""The engine: places, journal, calls, budgets, scheduling."""
