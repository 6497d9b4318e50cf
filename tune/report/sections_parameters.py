"""What mattered: importances, the layer and the other parameters one by one, and two at once."""

from tune.report.contents import Block, Paragraph, Picture, Pictures, Section
from tune.report.importances_optuna import MIN_TRIALS, importances
from tune.report.pictures_parameters import contour_picture, importances_picture
from tune.report.pictures_slices import layers_picture, slice_pictures
from tune.report.results import Results


def parameters_section(results: Results) -> Section:
    """Build what mattered; too few trials for importances are said so."""
    found = importances(results)
    blocks: list[Block] = []
    pictures: list[Picture | None] = []
    if found is not None:
        pictures += [importances_picture(results, found), contour_picture(results, found)]
        if not any(importance.above_chance for importance in found.by_key.values()):
            blocks.append(
                Paragraph(
                    "No parameter accounts for more than shuffled scores would give: the importances are noise."
                )
            )
    else:
        scored = sum(trial.get("objective") is not None for trial in results.trials)
        blocks.append(
            Paragraph(
                f"Parameter importances mean something from about {MIN_TRIALS} trials that scored differently at the "
                f"same epoch; there {'is' if scored == 1 else 'are'} {scored} scored in all, so none are given."
            )
        )
    pictures += [layers_picture(results), *slice_pictures(results)]
    drawn = tuple(picture for picture in pictures if picture is not None)
    if drawn:
        blocks.append(Pictures(drawn))
    return Section("parameters", "What mattered", tuple(blocks))
