"""`python -m jaxzoo.generate`, the command line that makes zoos."""

import sys

from jaxzoo.commands.generate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
