"""Write a BCF file as VCF text to standard output: ``python -m assets.bcf_text FILE``.

It runs as a process of its own, so that what ends htslib ends no run. The text is what ``bcftools view`` gives.
"""

from __future__ import annotations

import sys


def main(path: str) -> int:
    """Convert one file; 0 if all of it could be read, else 1 and a line on standard error."""
    from pysam import bcftools
    from pysam.utils import SamtoolsError

    try:
        bcftools.view("--output-type", "v", "--no-version", "--output", "-", path, catch_stdout=False)
    except SamtoolsError as error:
        print(str(error).partition("stderr=")[2].replace("\\n", " ").strip("' "), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
