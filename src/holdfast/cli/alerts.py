"""`alerts rules`: the alerts of a node as a file for Prometheus.

Strategy: `telemetry.alerts` has the rules and makes the text, with the thresholds of the node's
settings. Nothing is started and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from holdfast import settings
from holdfast.cli import options, output, stored
from holdfast.telemetry.alerts import prometheus, rules


def commands(usual: Mapping[str, settings.Usual]) -> click.Group:
    """The group `alerts`. `usual`: see `config.commands`."""
    group = output.Group(
        "alerts",
        help="Show the rules of alerts.\n\n"
        "A node evaluates them by itself, logs what fires and posts it to monitoring.webhook_url. "
        "Whoever has Prometheus may have it evaluate the same rules.",
        epilog="  holdfast alerts rules > rules.yml\n"
        "  holdfast alerts rules --config /etc/holdfast.toml > rules.yml\n",
    )
    group.add_command(_rules(usual))
    return group


def _rules(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "rules",
        cls=output.Command,
        epilog="  holdfast alerts rules > rules.yml && promtool check rules rules.yml\n"
        "  HOLDFAST_MONITORING__LATENCY=2s holdfast alerts rules | grep -A1 Latency\n",
    )
    @options.CONFIG
    def show(config: Path | None) -> None:
        """Print the rules as a file for Prometheus, with the thresholds of the settings."""
        given = stored.settings_of(usual, config, None)
        output.write(prometheus.document(rules.rules(given)))

    return show
