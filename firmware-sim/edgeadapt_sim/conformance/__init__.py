"""The conformance kit: plays the cloud against one device, in any language, clause by clause.

    access    how to get at the broker
    stand     the broker connection, and everything that was heard on it
    leftovers what an earlier run has left retained
    clause    what a clause is, and the list of them
    session, delivery, orders, patches, rollback, wants    the clauses
    run       all of them, in order, and the verdict

A device passes when no clause fails. What could not be seen (no sample came, no key was given) is "not
shown", which is no pass. Times are bounded by `Patience`; a slow device needs more of it.
"""
