"""Make docs/report.png, a picture of the top of the demo's report: `make docs-figures`.

    python docs/figures.py [FOLDER_OF_THE_RUN]

The picture holds the figures that it shows as text too, so that a test can compare them with those in README.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.runs.record import read_run

DOCS = Path(__file__).parent
WIDTH, HEIGHT = 1200, 1560


def main() -> None:
    """Take the picture."""
    run = Path(sys.argv[1]) if sys.argv[1:] else DOCS.parent / "demo/output/SpliceAI_fly_400_0_rs42/0"
    found = read_run(run)
    assert found.history.ending, f"{run}: it has not ended"
    shown = PngInfo()
    for kind in SITE_KINDS:
        auprc = found.history.ending.sets["test"].site(kind)["auprc"]
        shown.add_text(f"{kind} before", f"{auprc.before:.3f}")
        shown.add_text(f"{kind} after", f"{auprc.after:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "report.png"
        photograph(run / "report.html", taken)
        with Image.open(taken) as picture:
            picture.convert("RGB").quantize(128).save(DOCS / "report.png", pnginfo=shown, optimize=True)


def photograph(page: Path, picture: Path) -> None:
    """Write a picture of the top of a page as chromium shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium: not found; install it to take a picture of the report")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"]
    command = [chromium, *options, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)


if __name__ == "__main__":
    main()
