"""Prove a bundle's promises from its files alone: bytes, keys, no leakage, exact quotas, sums.

Examples:
  python -m pipeline verify
  python -m pipeline verify bundle=data_pools/bundles/math_heavy-1a2b3c4d
  python -m pipeline verify bundle=latest paths.bundles=elsewhere

One line a promise. The exit status is 3 if one does not hold.
"""

from __future__ import annotations

from typing import Any

from pipeline.cli.front import Job

_SHOWN = 5


def run(config: dict[str, Any], _job: Job) -> int:
    """Print each check with what was found; returns 3 if any fails, else 0."""
    from pipeline.manifest import open_bundle
    from pipeline.settings import bundle_setting
    from pipeline.verify import verify

    bundle = open_bundle(*bundle_setting(config, "bundle"))
    failed = 0
    for check in verify(bundle):
        failed += bool(check.faults)
        print(f"{'FAILED' if check.faults else 'ok':<6}  {check.name:<15}  {check.promise}", flush=True)
        for fault in check.faults[:_SHOWN]:
            print(f"{'':<25}{fault}")
        if len(check.faults) > _SHOWN:
            print(f"{'':<25}… and {len(check.faults) - _SHOWN:,} more")
    print(f"{bundle.folder}: {f'{failed} of its promises do not hold' if failed else 'all promises hold'}")
    return 3 if failed else 0
