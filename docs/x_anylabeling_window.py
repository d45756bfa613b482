"""X-AnyLabeling's window after a click, as a picture; the tool's own environment runs this.

Its arguments: the address for remote servers, a picture, x and y of a pixel, a directory for the
tool's files, and the file to write.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anylabeling.app import main
from anylabeling.views.labeling.widgets.remote_server_dialog import RemoteServerDialog
from PyQt6.QtCore import QPointF, Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QDialog

PATIENCE = 120.0
address, picture, x, y, directory, target = sys.argv[1:]


def wait(condition: Callable[[], bool]) -> None:
    """Let the window live until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.01)


def rest(seconds: float = 1.0) -> None:
    """Let the window draw itself."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def click(application: Any) -> None:
    """Choose the remote server, click, and take the picture."""
    [window] = [one for one in application.topLevelWidgets() if type(one).__name__ == "MainWindow"]
    window.showNormal()
    window.resize(1280, 800)
    rest()
    view = window.labeling_widget.view
    view.toggle_auto_labeling_widget()
    tools = view.auto_labeling_widget
    [name] = [one for one in tools.model_info if one.startswith("remote_server")]
    tools.on_model_selected("CVHub", name)
    wait(lambda: tools.remote_server_select_combobox.count() > 0)
    rest()
    tools.button_add_point.click()
    canvas = view.canvas
    pixel = QPointF(float(x), float(y)) + canvas.offset_to_center()
    at = (pixel * canvas.scale).toPoint()
    QTest.mouseMove(canvas, at)
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=at)
    wait(lambda: any(shape.shape_type == "polygon" for shape in canvas.shapes))
    rest()
    if not window.grab().save(target):
        raise OSError(target)


def run(application: Any) -> None:
    """Stand in for the loop of events, and end the process: threads of the tool go on otherwise."""
    try:
        click(application)
    except Exception:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


configuration = Path(directory) / "configuration.yaml"
server = {"server_url": address, "api_key": ""}
configuration.write_text(json.dumps({"language": "en_US", "remote_server_settings": server}))
# The dialog that asks for the address has that of the configuration already.
RemoteServerDialog.exec = lambda self: QDialog.DialogCode.Accepted
QApplication.exec = run
sys.argv[1:] = ["--filename", picture, "--config", str(configuration), "--work-dir", directory]
sys.argv.append("--no-auto-update-check")
main()
