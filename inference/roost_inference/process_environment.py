"""What the process of an engine has to be started with, as the C library reads it only then."""

import os
from collections.abc import Mapping

TUNABLES = "GLIBC_TUNABLES"
# Weights and KV cells in huge pages, where the system leaves that to programs, as most do: a token
# that reads them all misses fewer addresses, and comes about five percent sooner.
HUGE_PAGES = "glibc.malloc.hugetlb"


def launch_environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables to add to those given; nothing where the tunable is set already."""
    tunables = given.get(TUNABLES, "")
    if HUGE_PAGES in tunables:
        return {}
    return {TUNABLES: ":".join(filter(None, (tunables, f"{HUGE_PAGES}=1")))}
