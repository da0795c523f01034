"""`python -m roost_platform`: the command line, and how the supervisor starts its parts."""

from roost_platform.cli.main import main

if __name__ == "__main__":
    main()
