"""`python -m hwopt.cli`: the command line where no script is installed."""

from hwopt.cli.entry import main

if __name__ == "__main__":
    raise SystemExit(main())
