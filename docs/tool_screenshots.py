"""Take the pictures of the annotation tools in docs/annotation.md: `make screenshots TOOLS=1`.

They are of the real tools, in the environments of `make test-tools`, with the demo checkpoint on
a real tritonserver, whose artifacts `make demo` makes: label-studio.webp, a mask that waits to be
accepted beside one that is; x-anylabeling.webp, a polygon of one click.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

# What drives Label Studio is the tests'.
from chromium import launched
from label_studio_editor import Editor
from label_studio_process import label_studio
from PIL import Image
from running_gateway import Gateway, serving

from slimsam_gateway import GatewaySettings
from slimsam_gateway.label_studio_settings import LabelStudioSettings
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
SCENE = ROOT / "examples/scene.png"
TOOLS = ROOT / ".tools"
WINDOW = {"width": 1280, "height": 850}
TREE, BOULDER = (760, 340), (405, 460, 680, 635)
"""A pixel of the one, and a box around the other, in the scene."""


def main() -> None:
    """Take them all."""
    with EmbeddedServer(ROOT / "model_repository") as server:
        take_label_studio(server.grpc_url)
        with serving(GatewaySettings(url=server.grpc_url)) as gateway:
            take_x_anylabeling(gateway)


def take_label_studio(url: str) -> None:
    """Annotate in Label Studio's editor."""
    page = (ROOT / "docs/annotation.md").read_text("utf-8")
    configuration = re.findall(r"```xml\n(.*?)```", page, re.DOTALL)[0]
    with tempfile.TemporaryDirectory() as name, label_studio(TOOLS, Path(name)) as studio:
        token = studio.personal_token()
        settings = GatewaySettings(url, label_studio=LabelStudioSettings(studio.url, token))
        with serving(settings) as gateway, launched() as browser:
            project = studio.project("Scenes", configuration)
            task = studio.upload(project, "scene.png", SCENE.read_bytes())
            studio.connect(project, f"{gateway.http.base_url}".rstrip("/") + "/label-studio")
            editor = Editor(browser.new_page(viewport=WINDOW, color_scheme="light"), studio)
            editor.open(project, task)
            editor.drag(*BOULDER)
            editor.accept()
            editor.click(*TREE)
            # The mask is drawn after it has come.
            editor.page.wait_for_timeout(1500)
            editor.page.screenshot(path=(picture := Path(name) / "picture.png"))
            save(picture, "label-studio.webp")


def take_x_anylabeling(gateway: Gateway) -> None:
    """Click in X-AnyLabeling's window, which is drawn without a screen."""
    with tempfile.TemporaryDirectory() as name:
        picture = Path(name) / "picture.png"
        scene = Path(name) / SCENE.name
        shutil.copy(SCENE, scene)  # the tool writes its file of shapes beside it
        address = f"{gateway.http.base_url}".rstrip("/") + "/x-anylabeling"
        subprocess.run(
            [
                TOOLS / "x-anylabeling/bin/python",
                ROOT / "docs/x_anylabeling_window.py",
                *(address, scene, *map(str, TREE), name, picture),
            ],
            env={**os.environ, "HOME": name, "QT_QPA_PLATFORM": "offscreen"},
            check=True,
        )
        save(picture, "x-anylabeling.webp")


def save(picture: Path, name: str) -> None:
    """Keep a picture, in a tenth of a screenshot's bytes."""
    with Image.open(picture) as image:
        image.convert("RGB").save(IMAGES / name, quality=85, method=6)


if __name__ == "__main__":
    main()
