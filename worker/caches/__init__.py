"""What a build leaves for later ones of its project: installed packages, its framework's caches."""

from worker.caches.leaving import Caches
from worker.caches.store import Store

__all__ = ["Caches", "Store"]
