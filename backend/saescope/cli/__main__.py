"""`python -m saescope.cli`, the same program as `saescope`."""

from saescope.cli import main

if __name__ == "__main__":
    main()
