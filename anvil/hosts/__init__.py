"""The pyinfra vocabulary: facts that never fail a host, and operations that do nothing when there is nothing to do."""
