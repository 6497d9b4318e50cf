"""The projector and the images of h' in TensorBoard, in the run that they were taken from."""

import json
from collections.abc import Iterable
from pathlib import Path

import rocore
from tune.faults import attempted
from tune.representations import STAGES, Array, Representations
from tune.tensorboard import FOLDER, SUFFIX

MAX_POINTS = 1000
"""Points a stage in the projector: a browser turns them smoothly, and the files stay small."""


def write_representations(directory: Path, found: Representations) -> None:
    """Write `tsne/STAGE` images, and tensors, labels and their list for the projector.

    Args:
        directory: The sweep directory.
        found: What the run left.
    """
    root = directory / FOLDER
    # The run's curves are there already; their folder's name holds its parameters too.
    folder = next(iter(sorted(root.glob(f"{found.run}-*"))), root / found.run)
    folder.mkdir(parents=True, exist_ok=True)
    _write_images(folder, found)
    kept = slice(0, MAX_POINTS)
    labels = [rocore.shown(str(label)) or "none" for label in found.labels[kept]]
    (folder / "labels.tsv").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    entries = []
    for stage, points in found.stages.items():
        (folder / f"{stage}.tsv").write_text("".join(_rows(points[kept])), encoding="utf-8")
        entries.append(
            f"embeddings {{\n  tensor_name: {json.dumps(f'h_{stage}')}\n"
            f'  tensor_path: {json.dumps(f"{stage}.tsv")}\n  metadata_path: "labels.tsv"\n}}\n'
        )
    (folder / "projector_config.pbtxt").write_text("".join(entries), encoding="utf-8")


def _write_images(folder: Path, found: Representations) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

    from tune.report.pictures_representations import draw_stage
    from tune.report.svg import PLAIN_TEXT

    writer = SummaryWriter(str(folder), filename_suffix=SUFFIX)
    for stage in found.maps:
        with mpl.rc_context(PLAIN_TEXT), attempted(f"TensorBoard's picture of h' ({STAGES[stage]})"):
            figure = Figure(figsize=(5, 5), layout="constrained")
            axes = figure.add_subplot()
            draw_stage(axes, found, stage, _drawable)
            axes.set_title(STAGES[stage])
            writer.add_figure(f"tsne/{stage}", figure)
    writer.close()


def _drawable(name: str) -> str:
    """Return a name for a picture of pixels: what its font lacks is written as a code, not as the same empty box."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    from tune.report.svg import MAX_LABEL

    font = get_font(findfont(FontProperties()))
    letters = (
        letter if font.get_char_index(ord(letter)) else letter.encode("unicode_escape").decode()
        for letter in rocore.visible(rocore.shortened(name, MAX_LABEL))
    )
    return "".join(letters)


def _rows(points: Array) -> Iterable[str]:
    # h' was kept in float16: four digits are all of it.
    return ("\t".join(f"{value:.4g}" for value in point) + "\n" for point in points.tolist())
