"""Worker of `products.py` on PyTorch: a product's number in, its rate out, as JSON."""

import json
import sys

from products import in_torch, products, rate


def main() -> None:
    """Answer until nothing is asked any more."""
    every = list(products())
    for line in sys.stdin:
        request = json.loads(line)
        product = every[request["number"]]
        print(
            json.dumps({"rate": rate(product, in_torch(product), request["seconds"])}), flush=True
        )


if __name__ == "__main__":
    main()
