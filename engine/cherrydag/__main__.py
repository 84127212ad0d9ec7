"""`python -m cherrydag`: the command line."""

from cherrydag.cli import main

if __name__ == "__main__":
    main()
