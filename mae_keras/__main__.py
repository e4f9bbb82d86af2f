"""`python -m mae_keras` is the command line."""

from mae_keras.cli import main

if __name__ == "__main__":
    main()
