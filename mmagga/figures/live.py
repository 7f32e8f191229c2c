"""Learning curves that move while a notebook trains."""

from io import BytesIO

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

from mmagga import figures
from mmagga.runs.run import Run


class LiveCurves:
    """Redraw one picture in the page every few seconds: pass it to `train` as `watch`."""

    def __init__(self) -> None:
        self.image = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self.shown = False

    def __call__(self, run: Run) -> None:
        """Draw what the run has logged so far."""
        steps = run.read("steps")
        if len(steps) < 2:
            return
        figure = figures.learning_curves(steps, run.read("epochs"), run.read("timing"))
        buffer = BytesIO()
        figure.savefig(buffer, dpi=80)
        plt.close(figure)
        self.image.value = buffer.getvalue()
        if not self.shown:
            display(self.image)
            self.shown = True
