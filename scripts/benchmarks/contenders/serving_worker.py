"""A worker like `worker.py`, for contenders that give features and do not train."""

from contenders.worker import main

SIDES = {
    "keras": "serving_side",
    "saved_model": "serving_side",
    "onnx_runtime": "serving_side",
    "litert": "serving_side",
    "hf_eager": "torch_serving_side",
}

if __name__ == "__main__":
    main(SIDES)
