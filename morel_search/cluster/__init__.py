"""Everything that imports Ray: sessions, placement, tasks, Tune's searcher, scheduler and trainable."""
