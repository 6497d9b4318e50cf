"""`python -m rocore`: the same as the command `rocore`."""

from rocore.commands.main import main

if __name__ == "__main__":
    main(prog_name="rocore")
