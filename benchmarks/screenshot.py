"""Draw figures/browser.png: notebook 5's browser in a real JupyterLab, as a person sees it.

    python benchmarks/screenshot.py [--dark] [--out figures/browser.png]

Needs the run of `make demo`, playwright and a chromium. The notebook is run from a copy.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

KIT = Path(__file__).resolve().parents[1]
SIZE = {"width": 1060, "height": 1110}
MINUTE = 60_000


def prepare(page: Page, address: str, dark: bool) -> None:
    """Run the notebook, and cover a part of the query."""
    page.set_default_timeout(2 * MINUTE)
    page.goto(f"{address}/lab/tree/5_attention.ipynb?reset")
    ready = "window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel"
    page.wait_for_function(f"{ready}?.status === 'idle'")
    run = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.evaluate(run, "JupyterLab Dark" if dark else "JupyterLab Light")
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator(".mm-pair img:not([hidden])").wait_for()
    page.wait_for_function(f"{ready}.status === 'idle'")
    page.locator(".mm-occluder select").select_option(label="a person")
    page.locator(".mm-result", has_text="→").wait_for()
    page.wait_for_timeout(3000)
    page.evaluate("document.querySelectorAll('.Toastify').forEach(e => e.remove())")  # news
    page.locator(".mm-browser").evaluate("e => e.scrollIntoView()")
    page.wait_for_timeout(1000)


def main() -> None:
    """Start JupyterLab, take the picture, end JupyterLab."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=KIT / "figures" / "browser.png")
    parser.add_argument("--dark", action="store_true")
    args = parser.parse_args()
    (KIT / "runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KIT / "runs") as folder, socket.socket() as free:
        shutil.copy(KIT / "notebooks" / "5_attention.ipynb", folder)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
            "--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1", "--LabApp.news_url=",
            "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}",
        ]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        address = f"http://127.0.0.1:{port}"
        try:
            while server.poll() is None:
                try:
                    urllib.request.urlopen(f"{address}/api", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            with sync_playwright() as p:
                path = shutil.which("chromium") or shutil.which("chromium-browser")
                chromium = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
                page = chromium.new_page(viewport=SIZE)
                prepare(page, address, args.dark)
                picture = page.locator(".jp-Notebook").screenshot()
                chromium.close()
        finally:
            server.terminate()
            server.wait()
    Image.open(BytesIO(picture)).convert("RGB").save(args.out, optimize=True)
    print(args.out)


if __name__ == "__main__":
    main()
