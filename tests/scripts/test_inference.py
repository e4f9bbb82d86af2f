"""The arithmetic of the latency table."""


def result():
    """Batches of 10 images; ours takes 1 s, 2 s, 1 s, Hugging Face 4 s each."""
    from inference import summary

    rounds = [
        {"onnx_runtime": 1.0, "hf_eager": 4.0},
        {"onnx_runtime": 2.0, "hf_eager": 4.0},
        {"onnx_runtime": 1.0, "hf_eager": 4.0},
    ]
    facts = {"onnx_runtime": {"bytes": 1_500_000}, "hf_eager": {"bytes": 2_000_000}}
    contenders = summary(10, facts, rounds)
    sizes = {"preset": "nano", "image_shape": [8, 8, 3], "patch": 2, "batch": 10}
    return {**sizes, "contenders": contenders}


def test_latencies_and_ratios_are_medians_over_rounds():
    ours = result()["contenders"]["onnx_runtime"]
    assert (ours["milliseconds"], ours["images_per_second"]) == (1000.0, 10.0)
    assert (ours["ratio"], ours["range"]) == (4.0, [2.0, 4.0])


def test_the_table_has_a_row_for_each_contender():
    from inference import table

    lines = table(result()).splitlines()
    assert "nano, 8x8x3, patches of 2, batch 10" in lines
    assert "| onnx_runtime | 1000.00 | 10.0 | 4.00 x | 2.00 to 4.00 | 1.5 |" in lines


def test_without_hugging_face_there_are_no_ratios():
    from inference import summary, table

    contenders = summary(1, {"keras": {"bytes": 1_000_000}}, [{"keras": 0.5}])
    assert "| keras | 500.00 | 2.0 |  |  | 1.0 |" in table({**result(), "contenders": contenders})


def test_a_folder_is_as_large_as_its_files(tmp_path):
    from inference import bytes_of

    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"123")
    (tmp_path / "variables" / "data").write_bytes(b"4567")
    assert (bytes_of(tmp_path), bytes_of(tmp_path / "saved_model.pb")) == (7, 3)


def test_tiny_and_base_are_measured_one_by_one_and_in_batches():
    from inference import parse

    options = parse([])
    assert (options.presets, options.batches) == (["tiny", "base"], [1, 32])
