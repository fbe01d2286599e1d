"""Many jobs: what shall be done, what is done already, and who does it.

    MANIFEST ─▶ manifest ─▶ plan ─▶ Task… ─▶ ledger ─▶ runner ─▶ local processes, or a Dask cluster
    (places)    (entries)   (files)           (SQLite)     │            └── each calls engine.run_job
                                                           └── budget: what all of them share

The ledger is the only truth about what is done: everything else may be killed at any moment.
"""
