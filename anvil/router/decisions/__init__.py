"""What happened, for people and for machines: decision records, ring, store, search and live feed (contract 16)."""

from anvil.router.decisions.follow import Follower, TooManyFollowers
from anvil.router.decisions.query import BadQuery, Query
from anvil.router.decisions.query import parse as parse_query
from anvil.router.decisions.record import (
    Attempt,
    Decision,
    Dropped,
    IntentRecord,
    IntentSignals,
    Needs,
    Residency,
    decode,
    encode,
    lossy_names,
    new_id,
    sanitise,
    timestamp,
)
from anvil.router.decisions.recorder import Recorder
from anvil.router.decisions.search import Page

__all__ = [
    "Attempt",
    "BadQuery",
    "Decision",
    "Dropped",
    "Follower",
    "IntentRecord",
    "IntentSignals",
    "Needs",
    "Page",
    "Query",
    "Recorder",
    "Residency",
    "TooManyFollowers",
    "decode",
    "encode",
    "lossy_names",
    "new_id",
    "parse_query",
    "sanitise",
    "timestamp",
]
