"""All modules that import Ray for a search.

Sessions, placement, tasks, and Ray Tune's searcher, scheduler and trainable.
"""
