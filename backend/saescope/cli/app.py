"""The group of all commands. A command's module is imported only when it runs or shows its help."""

from __future__ import annotations

import difflib
import importlib

import click

COMMANDS: dict[str, str] = {
    "demo": "Train a sweep on embedded images, build its store, open the dashboard.",
    "train": "Train one SAE.",
    "sweep": "Train one SAE per sparsity and build each into a store.",
    "baseline": "Fit a classical dictionary: PCA, ICA, NMF, k-means, ...",
    "build": "Precompute a store entry for a trained SAE.",
    "evaluate": "Print every metric of a trained SAE.",
    "denoise": "Take noise out of pictures with a trained model.",
    "anomaly": "Fit, apply and judge a detector of anomalies.",
    "convert": "Write a checkpoint in another format.",
    "serve": "Open the dashboard on a store.",
    "ls": "List the entries of a store.",
    "show": "Show an entry's or a feature's numbers and examples.",
    "search": "Find features by label, token, text, id or expression.",
    "verify": "Report all faults of a store.",
    "export": "Write an entry's tables for other tools.",
}
"""Name -> what it does, in the order of a first day's work. Module `saescope.cli.<name>` holds `command`."""


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"saescope.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
            known = f"did you mean {' or '.join(near)}?" if near else f"commands: {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command {name!r}; {known}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from saescope.store.format.version import program_version

        click.echo(f"saescope {program_version()}")
        context.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "SAESCOPE",
        "max_content_width": 100,
    },
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
@click.pass_context
def app(context: click.Context) -> None:
    """Train sparse autoencoders, precompute what every feature does, and browse the features.

    Start with `saescope demo`. Every option can also be given as a variable of the environment,
    e.g. SAESCOPE_SERVE_PORT for `saescope serve --port`.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
