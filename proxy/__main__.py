"""The command: `switchboard serve`, `switchboard check`."""

from __future__ import annotations

import argparse
import sys

from proxy.registry.config import ConfigError, load_registry
from proxy.serve import StartError, serve
from proxy.settings import SettingsError, load_settings


def main() -> None:
    """Run the command line. Exit status 2 and one clear line when the settings or the configuration are wrong."""
    arguments = _parser().parse_args()
    try:
        settings = load_settings()
        registry = load_registry(settings)
        if arguments.command == "check":
            print(f"ok: {len(registry.models)} models: {', '.join(entry.name for entry in registry.models)}")
            return
        serve(settings, registry)
    except (SettingsError, ConfigError, StartError) as error:
        print(f"switchboard: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="switchboard", description="One HTTP door in front of every model a team runs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="listen and serve; settings come from the environment (see .env.example)")
    commands.add_parser("check", help="check settings and configuration, then exit")
    return parser


if __name__ == "__main__":
    main()
