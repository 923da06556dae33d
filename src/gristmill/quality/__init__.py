"""The quality lab: is the set good, is it safe to train on, and what of it gives it away?

Each module is one entry of the survey's chapter on evaluation: pure functions over texts or vectors, and `measure`, which
the command `gristmill check` calls. What scores (`Found.rows`) is apart from what decides (`Rule`), so that a threshold
changes without anything being computed again.
"""
