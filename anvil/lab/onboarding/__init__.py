"""From what a machine has to a topology, and from a topology to what would land on machines."""
