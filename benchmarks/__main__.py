"""Speed and memory, as ratios in one run. ``python -m benchmarks`` lists what there is."""

from __future__ import annotations

import click

from benchmarks import alphamissense, lookup, occurrences, rights, samples, startup, structures, variants


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure Winnow against what the machine does without it."""


main.add_command(variants.main, "variants")
main.add_command(occurrences.main, "occurrences")
main.add_command(alphamissense.main, "alphamissense")
main.add_command(rights.main, "rights")
main.add_command(startup.main, "startup")
main.add_command(lookup.main, "lookup")
main.add_command(samples.main, "samples")
main.add_command(structures.main, "structures")

if __name__ == "__main__":
    main()
