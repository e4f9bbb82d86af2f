"""The demo page: what is computed elsewhere, laid out with Gradio."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mae_keras.demo.pictures import Pictures, check_shown, drawn_mask, patch_at, toggled
from mae_keras.demo.samples import Neighbors, Samples, find_samples
from mae_keras.demo.server import private_gradio, served
from mae_keras.runs.exporting import load_trained

_CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto; }
.pixels img { image-rendering: pixelated; }
#visible img { cursor: pointer; }
.shelf .grid-wrap { max-height: none !important; min-height: 0 !important; }
.shelf .grid-container { gap: 6px; }
.shelf .caption-label { padding: 0 4px; }
#pictures { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); }
.tight { gap: 6px !important; }
footer { display: none !important; }
@media (max-width: 600px) {
  #pictures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .shelf .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
}
"""


def build_page(
    gr: Any,
    pictures: Pictures,
    samples: Samples,
    neighbors: Neighbors | None,
    title: str,
    resize: str,
) -> Any:
    """Lay the page out.

    Args:
        gr: Gradio.
        pictures: `Pictures`.
        samples: `Samples`.
        neighbors: `Neighbors`, or `None`: left out, with the note of `samples` in their place.
        title: what the model is called.
        resize: how uploads are brought to the model's shape: `"crop"`, `"pad"` or `"stretch"`.

    Returns:
        `gradio.Blocks`.
    """
    model = pictures.model
    height, width, channels = model.image_shape
    thumbnails = [pictures.plain(image) for image in samples.examples]
    static = {"format": "png", "interactive": False, "buttons": [], "show_label": False}
    shelf = {**static, "allow_preview": False, "columns": 8, "elem_classes": "shelf"}

    def heading(text: str) -> None:
        gr.Markdown(f"**{text}**")

    def picture(title: str, **options: Any) -> Any:
        with gr.Column(min_width=120, elem_classes="tight"):
            heading(title)
            return gr.Image(label=title, alt_text=title, elem_classes="pixels", **static, **options)

    # One computation at a time; clicks wait for their turn and none is lost.
    event = {
        "concurrency_id": "model",
        "concurrency_limit": 1,
        "trigger_mode": "multiple",
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    with gr.Blocks(
        title="mae-keras demo", analytics_enabled=False, delete_cache=(600, 600)
    ) as page:
        image, patch_mask, number = gr.State(), gr.State(), gr.State(0)
        gr.Markdown(
            f"## {title}\n{'Gray' if channels == 1 else 'Color'} pictures of {height} x {width} "
            f"pixels, {model.num_patches:,} patches. **Click a patch** of “Visible” "
            f"to hide or show it."
        )
        with gr.Row(elem_id="pictures"):
            original = picture("Original")
            seen = picture("Visible", elem_id="visible")
            predicted = picture("Predicted")
            composite = picture("Composite")
            spread = picture("Uncertainty")
        sentence = gr.Markdown(elem_id="sentence")
        with gr.Row(equal_height=True):
            ratio = gr.Slider(
                0.05, 0.95, model.mask_ratio, step=0.05, label="Fraction to hide", scale=3
            )
            draw = gr.Button("Draw a new mask", variant="primary", elem_id="draw")
            show_all = gr.Button("Show all patches", elem_id="show-all")
        given_away = gr.Checkbox(
            False,
            label="Take brightness and contrast of hidden patches from the original (the targets "
            "were standardized)",
            visible=model.reconstruction_statistics,
        )
        with gr.Row():
            with gr.Column(scale=3, elem_classes="tight"):
                heading("Choose a picture")
                examples = gr.Gallery(thumbnails, label="Pictures", elem_id="examples", **shelf)
            with gr.Column(scale=1, min_width=200, elem_classes="tight"):
                heading("Or bring your own")
                upload = gr.UploadButton("Upload a picture", file_types=["image"], elem_id="upload")
                invert = gr.Button("Swap black and white")
        with gr.Column(visible=neighbors is not None, elem_classes="tight"):
            heading("Nearest training images, by the cosine similarity of the encoder's features")
            near = gr.Gallery(label="Neighbors", elem_id="neighbors", **shelf)
        if samples.note:
            gr.Markdown(samples.note)
        gr.Markdown(
            "Uncertainty: standard deviation of 16 predictions, each from another random half of "
            "the visible patches; brighter is less certain. Visible places stay blank."
        )

        def statistics(given_away: bool) -> str:
            return "original" if given_away else "visible"

        def show(image: Any, patch_mask: Any, given_away: bool) -> Iterator[Any]:
            view = pictures.view(image, patch_mask, statistics(given_away))
            yield *view, gr.skip()
            uncertainty = pictures.spread(image, patch_mask, statistics(given_away))
            yield *([gr.skip()] * len(view)), uncertainty

        def look_up(image: Any) -> Any:
            found = [] if neighbors is None else neighbors.nearest(image)
            captioned = [
                (
                    pictures.plain(neighbors.images[row]),
                    f"{neighbors.names[row]} · {close:.2f}".lstrip(" ·"),
                )
                for row, close in found
            ]
            return pictures.plain(image), captioned

        def redraw(image: Any, ratio: float, number: int) -> Any:
            return drawn_mask(model, image, ratio, number), number + 1

        def take_example(chosen: gr.SelectData) -> Any:
            return samples.examples[chosen.index]

        def take_upload(path: str) -> Any:
            try:
                return pictures.read(path, resize)
            except (ValueError, OSError) as error:
                raise gr.Error(str(error), duration=None, print_exception=False) from error

        def toggle(patch_mask: Any, clicked: gr.SelectData) -> Any:
            place = patch_at(clicked.index, pictures.size, model.grid)
            return toggled(patch_mask, place, model.grid)

        def update(trigger: Any) -> None:
            trigger(show, [image, patch_mask, given_away], outputs, **event)

        outputs = [seen, predicted, composite, sentence, spread]
        mask_changed = [
            draw.click(redraw, [image, ratio, number], [patch_mask, number], **event),
            ratio.release(redraw, [image, ratio, number], [patch_mask, number], **event),
            show_all.click(lambda mask: np.zeros_like(mask), patch_mask, patch_mask, **event),
            seen.select(toggle, patch_mask, patch_mask, **event),
        ]
        for new_image in (
            page.load(lambda: samples.examples[0], None, image, **event),
            examples.select(take_example, None, image, **event),
            upload.upload(take_upload, upload, image, **event),
            invert.click(pictures.inverted, image, image, **event),
        ):
            looked_up = new_image.success(look_up, image, [original, near], **event)
            mask_changed.append(
                looked_up.success(redraw, [image, ratio, number], [patch_mask, number], **event)
            )
        for changed in mask_changed:
            update(changed.success)
        update(given_away.change)
    return page


@contextlib.contextmanager
def running_demo(
    run: str | os.PathLike[str],
    listener: socket.socket,
    *,
    data_dir: str | None = None,
    announce: Callable[[str], Any] = lambda line: None,
) -> Iterator[str]:
    """Load a model and serve its page inside a `with` block.

    Args:
        run: folder of a run, name of pretrained weights, or a `.keras` file.
        listener: what `demo.server.listening_socket` returned; closed at the end.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.
        announce: called with a line for what takes long and for what is missing.

    Yields:
        The page's address.

    Raises:
        ImportError: if Gradio is not installed.
        ValueError: if the model has no pictures to show, or cannot be loaded.
    """
    recipe, model = load_trained(run)
    check_shown(model)
    samples = find_samples(run, recipe, model, data_dir)
    if samples.note:
        announce(samples.note)
    value_range = model.value_range or (samples.examples.min(), samples.examples.max())
    pictures = Pictures(model, value_range)
    neighbors = None
    if samples.training is not None:
        announce(f"Encoding {len(samples.training[0]):,} training images ...")
        neighbors = Neighbors(model, *samples.training)
    # What is compiled now does not keep the first click waiting.
    image = samples.examples[0]
    patch_mask = drawn_mask(model, image, model.mask_ratio, 0)
    pictures.view(image, patch_mask, "visible")
    pictures.spread(image, patch_mask, "visible")
    title = f"Masked autoencoder: {pathlib.Path(run).name}"
    with private_gradio() as gradio:
        page = build_page(gradio, pictures, samples, neighbors, title, recipe.resize)
        with served(gradio, page, listener, _CSS) as address:
            yield address
