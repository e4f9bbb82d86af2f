"""What is tuned to the machine: the only code beside data and export that asks for a backend."""
