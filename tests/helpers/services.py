"""The commands in files that start containers and jobs, held to the options that there are."""

from importlib import import_module


def check_command(words: list[str]) -> None:
    """Parse the words as the program that they name would: ours, or `ray`. Raises click's errors, and KeyError."""
    program, name, *rest = words
    if program == "ray":
        from ray.scripts.scripts import cli

        command = cli.commands[name]
    else:
        command = import_module(f"{program}.cli.main").main.commands[name]
    command.make_context(
        f"{program} {name}", [word for word in rest if word != "--block"] if program == "ray" else rest
    )
