"""The command: `switchboard serve`, `switchboard check`, `switchboard settings`."""

from __future__ import annotations

import argparse
import sys

from proxy.registry.config import ConfigError, load_registry
from proxy.serve import StartError, serve
from proxy.settings import SettingsError, load_settings, refuse_open_door
from proxy.settings_docs import env_example, markdown_table


def main() -> None:
    """Run the command line. Exit status 2 and one clear line when the settings or the configuration are wrong."""
    arguments = _parser().parse_args()
    try:
        if arguments.command == "settings":
            print(markdown_table() if arguments.format == "markdown" else env_example(), end="")
            return
        settings = load_settings()
        registry = load_registry(settings)
        refuse_open_door(settings, keyed=bool(registry.keys))
        if arguments.command == "check":
            print(f"ok: {len(registry.models)} models: {', '.join(entry.name for entry in registry.models)}")
            return
        serve(settings, registry, greet=arguments.greet)
    except KeyboardInterrupt:
        sys.exit(130)
    except (SettingsError, ConfigError, StartError) as error:
        print(f"switchboard: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="switchboard", description="One HTTP door in front of every model a team runs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="listen and serve; settings come from the environment (.env.example)")
    serving.add_argument("--greet", action="store_true", help="print where it listens and commands to try")
    listing = commands.add_parser("settings", help="list every setting with its default")
    listing.add_argument("--format", choices=("env", "markdown"), default="env")
    commands.add_parser("check", help="check settings and configuration, then exit")
    return parser


if __name__ == "__main__":
    main()
