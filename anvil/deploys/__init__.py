"""Deploys: the only place that joins the topology, what is rendered from it, and the operations on hosts."""
