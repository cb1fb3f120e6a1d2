"""`python -m trustee_jax`: the same as `trustee`, which need not be on the path."""

import sys

from trustee_jax.commands.main import main

if __name__ == "__main__":
    sys.exit(main(program="python -m trustee_jax"))
