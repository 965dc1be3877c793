"""`circuit-tracer doctor`: is this installation sound?"""

from __future__ import annotations

from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained, fail
from circuit_tracer.cli.output import print_json, print_row
from circuit_tracer.workbench import health


@explained
def doctor(json: options.Json = False) -> None:
    """Check versions, device, bundled weights and that a trace conserves its targets."""
    checks = health.checks()
    if json:
        print_json(checks)
    else:
        for check in checks:
            print_row(check.result, name=f"{'ok  ' if check.sound else 'FAIL'}  {check.name:34} ")
    broken = [check.name for check in checks if not check.sound]
    if broken:
        fail(f"not sound: {', '.join(broken)}", 1)
